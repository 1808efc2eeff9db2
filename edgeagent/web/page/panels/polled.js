// SPDX-License-Identifier: AGPL-3.0-or-later
// What is asked of the node again and again while somebody looks at it, because no event brings it.

import { get } from "../api.js";
import { useEffect, useRef, useState } from "../ui.js";

/** The answer to a request, asked again after `every_ms` (0: once): [answer or null, error or null, ask now].
 *  An answer stays when a later request fails; the error is beside it then. */
export function usePolled(where, every_ms = 5000) {
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState(null);
  const current = useRef(0);
  async function ask(round) {
    try {
      const found = await get(where);
      if (round !== current.current) return;
      setAnswer(found);
      setError(null);
    } catch (e) {
      if (round === current.current) setError(e);
    }
  }
  useEffect(() => {
    const round = ++current.current;
    let timer = null;
    async function go() {
      if (!document.hidden) await ask(round);
      if (every_ms && round === current.current) timer = setTimeout(go, every_ms);
    }
    setAnswer(null);
    go();
    return () => {
      current.current += 1;
      clearTimeout(timer);
    };
  }, [where, every_ms]);
  return [answer, error, () => ask(current.current)];
}
