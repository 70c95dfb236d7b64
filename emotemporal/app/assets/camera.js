// Record from the camera: a picture without sound, which becomes a file like any other.

const TYPES = ["video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm", "video/mp4"];
const BITS_PER_SECOND = 4_000_000;

const element = (id) => document.getElementById(id);

/** Why there is no camera, in words; empty where there may be one. */
function whyNone() {
  if (!window.isSecureContext) return "The camera works only where the app is opened as localhost or 127.0.0.1.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return "This browser cannot record from a camera.";
  return "";
}

function describe(error) {
  const reasons = {
    NotAllowedError: "The browser was not allowed to use the camera: allow it beside the address, then try again.",
    NotFoundError: "There is no camera.",
    NotReadableError: "The camera cannot be read: another program may be using it.",
  };
  return reasons[error.name] ?? `The camera cannot be used (${error.message}).`;
}

export class Camera {
  /** @param {(file: File) => void} onFile */
  constructor(onFile) {
    this.onFile = onFile;
    element("record").addEventListener("click", () => this.#open());
    element("camera-start").addEventListener("click", () => (this.recorder ? this.recorder.stop() : this.#start()));
    element("camera-close").addEventListener("click", () => this.#close());
    addEventListener("pagehide", () => this.#stopStream());
  }

  #say(text) {
    element("camera-note").textContent = text;
    element("camera-note").hidden = !text;
  }

  async #open() {
    this.#say(whyNone());
    if (whyNone() || this.stream) return;
    element("record").disabled = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
    } catch (error) {
      this.#say(describe(error));
      element("record").disabled = false;
      return;
    }
    const preview = element("preview");
    preview.srcObject = this.stream;
    preview.play().catch(() => {});
    for (const track of this.stream.getTracks()) {
      track.addEventListener("ended", () => this.#end("The camera was unplugged or taken away."));
    }
    this.#tell(0);
    element("camera").hidden = false;
    element("camera-start").focus();
  }

  #start() {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const parts = [];
    try {
      this.recorder = new MediaRecorder(this.stream, { mimeType, videoBitsPerSecond: BITS_PER_SECOND });
      this.recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
      this.recorder.addEventListener("stop", () => this.#finish(parts));
      this.recorder.start(1000);
    } catch (error) {
      this.recorder = null;
      this.#say(describe(error));
      return;
    }
    const began = performance.now();
    this.timer = setInterval(() => this.#tell((performance.now() - began) / 1000), 250);
    element("camera").classList.add("recording");
    element("camera-start").textContent = "Stop and label";
    element("camera-close").textContent = "Throw it away";
  }

  #finish(parts) {
    const type = this.recorder.mimeType.split(";")[0];
    const time = new Date().toLocaleString("sv").replaceAll(":", ".");
    const isWanted = !this.isThrownAway;
    this.#close();
    const suffix = type === "video/mp4" ? "mp4" : "webm";
    if (isWanted && parts.some((part) => part.size)) this.onFile(new File(parts, `Recording ${time}.${suffix}`, { type }));
  }

  #end(why) {
    this.#say(why);
    this.#close();
  }

  /** What is being recorded is thrown away. */
  #close() {
    clearInterval(this.timer);
    if (this.recorder?.state === "recording") {
      this.isThrownAway = true;
      this.recorder.stop(); // which comes back here
      return;
    }
    this.recorder = null;
    this.isThrownAway = false;
    this.#stopStream();
    element("camera").hidden = true;
    element("camera").classList.remove("recording");
    element("camera-start").textContent = "Record";
    element("camera-close").textContent = "Close the camera";
    element("record").disabled = false;
    element("record").focus();
  }

  #stopStream() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    element("preview").srcObject = null;
  }

  #tell(seconds) {
    element("camera-time").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  }
}
