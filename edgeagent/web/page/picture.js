// SPDX-License-Identifier: AGPL-3.0-or-later
// The live picture of a pipeline, while somebody looks at it: not in a tab behind, not below the edge of the screen.
// A browser keeps six connections to a node; each live picture is one, so a few are live and the others are renewed
// every few seconds.

import { Icon, html, useEffect, useRef, useState } from "./ui.js";
import { ApiError, address, path } from "./api.js";
import { t } from "./i18n.js";

const MOST_LIVE = 3;
const STILL_MS = 3000;
const CROWDED_MS = 60000;
const RETRY_MS = [1000, 2000, 4000, 8000];
const NOTHING = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

const live = new Set();

/** Whether the element is on the screen, in a tab that is. */
function useInView(box) {
  const [inView, setInView] = useState(false);
  useEffect(() => {
    let near = !window.IntersectionObserver;
    const look = () => setInView(near && !document.hidden);
    const ends = [() => document.removeEventListener("visibilitychange", look)];
    document.addEventListener("visibilitychange", look);
    if (window.IntersectionObserver) {
      const observer = new IntersectionObserver((entries) => {
        near = entries[entries.length - 1].isIntersecting;
        look();
      });
      observer.observe(box.current);
      ends.push(() => observer.disconnect());
    }
    look();
    return () => ends.forEach((end) => end());
  }, []);
  return inView;
}

/** Why a picture doesn't come, as the node says it; null where it would come now. */
async function reasonFor(where) {
  const stop = new AbortController();
  try {
    const response = await fetch(address(where), { credentials: "same-origin", signal: stop.signal });
    if (response.ok) return null;
    const doc = await response.json().catch(() => ({}));
    return new ApiError(response.status, doc.error || {});
  } catch (e) {
    return new ApiError(0, {});
  } finally {
    stop.abort();
  }
}

/** name: of the pipeline. over: words that lie over the picture, null while it is good. generation: with another one
 *  the picture is asked for anew. */
export function Picture({ name, width = 640, over, overKind = "warn", generation, label }) {
  const box = useRef(null);
  const image = useRef(null);
  const inView = useInView(box);
  const [failed, setFailed] = useState(null);
  const [tries, setTries] = useState(0);
  const [shown, setShown] = useState(false);
  const failures = useRef(0); // since the last picture
  const crowded = useRef(0); // until when the node has no live picture for us, by performance.now()

  useEffect(() => {
    setShown(false);
    if (!inView) return undefined;
    const own = {};
    let timer = null;
    const isLive = live.size < MOST_LIVE && performance.now() > crowded.current;
    const where = path("api/pipelines", name, isLive ? "preview.mjpg" : "snapshot.jpg");
    const element = image.current;
    const ask = () => (element.src = address(`${where}?width=${width}${isLive ? "&fps=5" : `&t=${Date.now()}`}`));
    element.onload = () => {
      failures.current = 0;
      setShown(true);
      setFailed(null);
      if (!isLive) timer = setTimeout(ask, STILL_MS);
    };
    element.onerror = async () => {
      live.delete(own);
      const wait = RETRY_MS[Math.min(failures.current++, RETRY_MS.length - 1)];
      timer = setTimeout(() => setTries(tries + 1), wait);
      const reason = await reasonFor(`${where}?width=${width}`);
      if (!timer) return; // nobody looks any more
      if (isLive && reason && reason.status === 503) {
        crowded.current = performance.now() + CROWDED_MS; // too many viewers: a still now and then will do
        clearTimeout(timer);
        setTries(tries + 1);
        return;
      }
      setFailed(reason);
      setShown(false);
    };
    if (isLive) live.add(own);
    ask();
    return () => {
      live.delete(own);
      clearTimeout(timer);
      timer = null;
      element.onload = element.onerror = null;
      element.src = NOTHING; // which ends the stream; taking the element away doesn't in every browser
    };
  }, [inView, name, width, generation, tries]);

  const words = over || (failed && failed.status !== 0 ? t("picture.failed", { why: failed.why || failed.status }) : "");
  return html`<figure class=${`picture ${over ? "is-covered" : ""}`} ref=${box}>
    <img ref=${image} class=${shown ? "" : "unshown"} src=${NOTHING} alt=${label} />
    ${words
      ? html`<figcaption class="over"><${Icon} name=${over ? overKind : "info"} size=${32} /><span>${words}</span></figcaption>`
      : !shown && html`<figcaption class="over quiet"><span>${t("picture.coming")}</span></figcaption>`}
  </figure>`;
}
