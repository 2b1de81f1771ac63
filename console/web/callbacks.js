// The callbacks of all senders: whether they are taken, what waits, and what was given up.
import { Copy, Dialog, Fault, Lamp, announce, html, useAct, useEffect, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { follow } from "./live.js"
import { Paged, usePages } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { ago, count, many, span } from "./words.js"

const states = { ok: ["good", "works"], failing: ["bad", "fails"], disabled: ["bad", "disabled"], off: ["idle", "switched off"] }

export function Callbacks() {
  const [state, setState] = useState(""), [doing, setDoing] = useState(null)
  const list = usePages("callbacks", { field: "callbacks", key: c => c.key, query: { state } })
  useEffect(() => follow("callbacks", list.reload), [state])
  const close = () => { setDoing(null); list.reload() }
  const Act = doing && acts[doing.act]
  return html`<h1>Callbacks</h1>
    <p class="lead">The gateway posts messages to these addresses. A message that one does not take is tried again; then it is given up, and kept for a replay.</p>
    <section class="card" aria-label="Callbacks">
      <div class="tools"><label class="check">State <select value=${state} onChange=${e => setState(e.target.value)}>
        <option value="">all</option>${Object.entries(states).map(([s, [, words]]) => html`<option key=${s} value=${s}>${words}</option>`)}</select></label></div>
      <${Paged} of=${list} empty=${state ? html`None is like that. <button type="button" onClick=${() => setState("")}>Show all</button>`
        : "There are no callbacks. A program that joins by POST /channels/join/async with a callback_url has one."}>
        ${items => html`<table class="rows callbacks"><thead><tr><th scope="col">For</th><th scope="col">State</th><th scope="col">Channels</th><th scope="col">Waiting</th><th scope="col">Given up</th>${mayDo("manage") ? html`<th scope="col"><span class="unseen">What can be done</span></th>` : null}</tr></thead>
          <tbody>${items.map(c => html`<${Row} key=${c.key} c=${c} onAct=${act => setDoing({ act, c })} />`)}</tbody></table>`}
      </${Paged}>
    </section>
    ${doing ? html`<${Act} c=${doing.c} onClose=${close} />` : null}`
}

function Row({ c, onAct }) {
  const [lamp, words] = states[c.state] ?? ["watch", c.state]
  const since = { failing: c.failing_since, disabled: c.disabled_at, off: c.off_since }[c.state]
  return html`<tr>
    <th scope="row"><a href=${pathOf(c.sender)}>${nameOf(c)}</a><small><code>${c.url}</code></small></th>
    <td><${Lamp} state=${lamp}>${since && c.state === "failing" ? "has failed" : words}${since ? ` for ${span(Date.now() - Date.parse(since))}` : ""}</${Lamp}>
      ${c.state === "disabled" ? html`<small>${c.reason}. Its sender has to join again.</small>` : null}
      ${c.last_error && c.state !== "ok" ? html`<small>The last attempt that failed, ${ago(c.last_error.time)}: ${c.last_error.detail}</small>` : null}</td>
    <td data-label="on channels">${c.channels.length > 8 ? `${c.channels.slice(0, 8).join(", ")} and ${count(c.channels.length - 8)} more` : c.channels.join(", ") || "none"}</td>
    <td data-label="waiting">${count(c.waiting)}</td>
    <td data-label="given up" class=${c.given_up ? "degree-3" : ""}>${count(c.given_up)}</td>
    ${mayDo("manage") ? html`<td class="acts">
      ${c.given_up ? html`<button type="button" onClick=${() => onAct("replay")}>Replay</button>` : null}
      <button type="button" onClick=${() => onAct("rotate")}>New secret</button>
      ${c.state === "off" ? html`<button type="button" onClick=${() => onAct("on")}>Switch on</button>` : c.state === "disabled" ? null : html`<button type="button" onClick=${() => onAct("off")}>Switch off</button>`}</td>` : null}
  </tr>`
}

const of = c => html`<p>${nameOf(c)}, <code>${c.url}</code></p>`

// A dialog that asks, and acts.
const asking = (title, button, path, words) => ({ c, onClose }) => {
  const [busy, run, problem] = useAct()
  const act = async () => {
    if (await run(() => call("POST", `callbacks/${encodeURIComponent(c.key)}/${path}`, { body: {} }))) { announce("Done."); onClose() }
  }
  return html`<${Dialog} title=${title} onClose=${onClose}>${of(c)}<p>${words(c)}</p><${Fault} of=${problem} />
    <p class="buttons"><button type="button" class="main" disabled=${busy} onClick=${act}>${button(c)}</button><button type="button" onClick=${onClose}>Cancel</button></p></${Dialog}>`
}

function Rotate({ c, onClose }) {
  const [busy, run, problem] = useAct(), [secret, setSecret] = useState("")
  const act = () => run(async () => setSecret((await call("POST", `callbacks/${encodeURIComponent(c.key)}/rotate`, { body: {} })).secret))
  return html`<${Dialog} title="New secret" onClose=${onClose}>${of(c)}
    ${secret ? html`<p>This is shown once. Its receiver checks the signatures with it.</p><p class="secret"><code>${secret}</code> <${Copy} text=${secret} /></p>
      <p class="buttons"><button type="button" class="main" onClick=${onClose}>Done</button></p>`
    : html`<p>Each message is signed by the new secret. For a time (callbacks.rotation_overlap, a day if it is not set) it is signed by the old one too, so that the receiver can change over.</p><${Fault} of=${problem} />
      <p class="buttons"><button type="button" class="main" disabled=${busy} onClick=${act}>Make a new secret</button><button type="button" onClick=${onClose}>Keep the old one</button></p>`}
  </${Dialog}>`
}

const acts = {
  rotate: Rotate,
  off: asking("Switch this callback off?", () => "Switch it off", "off", () => "Nothing is posted to it until it is switched on again. Messages wait for it, as many as callbacks.queue allows; then the oldest are lost. Its sender stays on its channels."),
  on: asking("Switch this callback on again?", () => "Switch it on", "on", c => `Messages are posted to it again${c.waiting ? `, beginning with ${many(c.waiting, "message")} that ${c.waiting === 1 ? "waits" : "wait"}` : ""}.`),
  replay: asking("Replay what was given up?", c => `Replay ${many(c.given_up, "message")}`, "replay", c => `${many(c.given_up, "message")} ${c.given_up === 1 ? "is" : "are"} queued again, with the old ids. What is older than its time to live is not delivered even then.`),
}
