document.getElementById("video").src = JSON.parse(document.getElementById("layout").textContent).sources[0]?.url ?? "";
