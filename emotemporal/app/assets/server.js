// What is asked of the server.

const settings = JSON.parse(document.querySelector("meta[name=settings]").content);
const GONE = "The app does not answer: it has ended, or is very busy. Start it again in the terminal: emotemporal app";

export { settings };

/** The server could not be reached. */
export class Gone extends Error {
  constructor() {
    super(GONE);
  }
}

/** @returns {Promise<object[]>} all videos, the newest first */
export async function listVideos() {
  return (await ask("/api/videos")).videos;
}

/** @param {"cancel" | "forget" | "overlay"} what */
export async function change(id, what) {
  const headers = { [settings.token_header]: settings.token };
  return (await ask(`/api/videos/${encodeURIComponent(id)}/${what}`, { method: "POST", headers })).videos;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Gone();
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `the app answers ${response.status}; its terminal says why`);
  return answer;
}

/** What the server would say of a file, said before it is sent; empty where it may be. */
export function refusal(file) {
  const dot = file.name.lastIndexOf(".");
  const suffix = dot < 0 ? "" : file.name.slice(dot).toLowerCase();
  if (!settings.suffixes.includes(suffix)) {
    const found = suffix ? `a file of type ${suffix}` : "a name without a type";
    const known = settings.suffixes.map((name) => name.slice(1)).join(", ");
    return `${file.name}: ${found}, neither a video nor a picture that is known; choose ${known}`;
  }
  if (file.size > settings.max_bytes) {
    return `${file.name}: larger than ${settings.max_told}; cut it, or start the app with a larger --max-mb`;
  }
  return "";
}

/**
 * Send a file. `fetch` would not tell how much of it is sent.
 *
 * @param {File} file @param {(share: number) => void} onShare @param {AbortSignal} signal
 * @returns {Promise<string>} the id of the video; rejects with the reason in words
 */
export function upload(file, onShare, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/videos");
    request.setRequestHeader(settings.token_header, settings.token);
    request.setRequestHeader(settings.name_header, encodeURIComponent(file.name.toWellFormed?.() ?? file.name));
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onShare(total ? loaded / total : 1));
    request.addEventListener("load", () => {
      if (request.status === 201) resolve(request.response.id);
      else reject(new Error(request.response?.error ?? `${file.name}: the app answers ${request.status}`));
    });
    request.addEventListener("error", () => reject(new Error(`${file.name}: could not be sent; add it again`)));
    request.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
