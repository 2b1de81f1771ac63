// Who is missing: devices that are away though something remembers them, and callbacks that
// are not taken. It says in words what is lost by that.
import { Fault, Lamp, Pending, html, useState } from "./ui.js"
import { useAnswer } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { ago, count, many, span } from "./words.js"

const shown = 8               // lines at once
const old = 7 * 86400 * 1000  // ms: away for longer than this is no news

// whyAway says what it means that a sender is away.
export function whyAway(s) {
  const on = many(s.channels, "channel")
  if (s.via.includes("mqtt")) return `Its MQTT client is disconnected, and its session waits for it on ${on}. Messages at QoS 1 and 2 wait there until it is back, as far as its queue has room. Messages at QoS 0 are lost.`
  if (s.via.includes("callback")) return `It is no longer connected, and reached by a callback on ${on}.`
  if (s.channels) return `It is not connected, but still on ${on}: what is said there does not reach it.`
  return s.held ? "It was a device on UDP, TCP or MQTT, and has fallen silent or lost its connection. It is on no channel any more, so nothing that is said reaches it. Look at its power and its network. It registers again by itself."
    : "It is on no channel and not connected, as a program that has ended."
}

// What a callback's state means for its sender.
const undelivered = c => (c.state === "disabled" ? "It is switched off, and its sender has left its channels. " : "") +
  [c.waiting ? `${many(c.waiting, "message")} ${c.waiting === 1 ? "waits" : "wait"}` : "", c.given_up ? `${many(c.given_up, "message")} ${c.given_up === 1 ? "was" : "were"} given up and can be replayed` : ""].filter(Boolean).join(", ")

export function Missing({ onShow }) {
  const [held, problem] = useAnswer("senders", { query: { state: "away", held: "true", limit: 500 } })
  const [waiting] = useAnswer("senders", { query: { state: "away", via: "mqtt", limit: 500 } })
  const [failing] = useAnswer("callbacks", { query: { state: "failing", limit: 100 } })
  const [off] = useAnswer("callbacks", { query: { state: "disabled", limit: 100 } })
  const [all, setAll] = useState(false)
  if (problem) return html`<section class="card"><h2>Who is missing</h2><${Fault} of=${problem} /></section>`
  if (!held || !waiting) return html`<section class="card"><h2>Who is missing</h2><${Pending} lines=2 /></section>`
  const now = Date.now(), away = new Map([...held.senders, ...waiting.senders].map(s => [s.id, s]))
  const sorted = [...away.values()].sort((a, b) => Date.parse(b.seen ?? 0) - Date.parse(a.seen ?? 0))
  const fresh = sorted.filter(s => now - Date.parse(s.seen ?? 0) < old)
  const calls = [...failing?.callbacks ?? [], ...off?.callbacks ?? []]
  const lines = all ? fresh : fresh.slice(0, shown), more = held.next || waiting.next
  const n = fresh.length + calls.length
  return html`<section class="card missing" aria-labelledby="missing"><header><h2 id="missing"><${Lamp} state=${n ? "bad" : "good"}>${n ? `Missing: ${[fresh.length ? many(fresh.length, "device") + (more ? " and more" : "") : "", calls.length ? many(calls.length, "callback") : ""].filter(Boolean).join(", ")}` : "Nobody is missing"}</${Lamp}></h2>
      ${n ? html`<span class="hint">the last to be lost comes first</span>` : null}</header>
    ${n ? html`<ul class="plain">
      ${calls.map(c => html`<li key=${"c" + c.key}><strong><a href=${pathOf(c.sender)}>${nameOf(c)}</a></strong> <span class="since">its callback fails${c.failing_since ? ` for ${span(now - Date.parse(c.failing_since))}` : ""}</span>
        <p>${c.last_error ? `The last attempt: ${c.last_error.detail ?? c.last_error}. ` : ""}${undelivered(c)}. <a href="#/callbacks">To the callbacks</a></p></li>`)}
      ${lines.map(s => html`<li key=${s.id}><strong><a href=${pathOf(s.id)}>${nameOf(s)}</a></strong> <span class="since">${s.seen ? `last seen ${ago(s.seen)}` : "never seen"}</span><p>${whyAway(s)}</p></li>`)}
    </ul>` : html`<p class="hint">Every device that has a name is here, and every callback is taken.</p>`}
    ${fresh.length > lines.length ? html`<p class="buttons"><button type="button" onClick=${() => setAll(true)}>Show ${count(fresh.length - lines.length)} more</button></p>` : null}
    ${sorted.length > fresh.length ? html`<p class="hint">${many(sorted.length - fresh.length, "device")} ${sorted.length - fresh.length === 1 ? "has" : "have"} been away for more than a week. <button type="button" class="quiet" onClick=${onShow}>List all that are away</button></p>` : null}
  </section>`
}
