// Who is missing: devices that are away though something remembers them, and callbacks that
// are not taken. It says in words what is lost by that.
import { Fault, Lamp, Pending, html, protocolName, useState } from "./ui.js"
import { useAnswer } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { ago, count, many, span } from "./words.js"

const shown = 8               // lines at once
const old = 7 * 86400 * 1000  // ms: away for longer than this is no news

// Why a device's connection ended, and what to look at.
const reasons = {
  goodbye: by => `It said goodbye ${by}, as a program that ends in good order, or a device that is switched off.`,
  silence: by => `It fell silent ${by}: nothing came for as long as its keep-alive allows. Look at its power and its network.`,
  connection: by => `Its connection ${by} broke, or was closed without a goodbye. Its program has ended, or the network failed.`,
  mistake: by => `It sent what is not allowed ${by}, and was disconnected. The gateway's log says what.`,
}

// whyAway says why a sender is away, and what is lost by that.
export function whyAway(s) {
  const on = many(s.channels, "channel"), waits = s.via.includes("mqtt")
  const why = s.left ? reasons[s.left.why]?.(`over ${protocolName(s.left.via)}`) : s.held ? "Why is not known: it left before the gateway's last start, or was made to." : "It is not connected, as a program that has ended."
  const lost = waits ? `Its MQTT session waits for it${s.channels ? ` on ${on}` : ""}: messages at QoS 1 and 2 are kept until it is back, as many as its queue takes. Messages at QoS 0 are lost.`
    : s.via.includes("callback") ? `A callback still gets what is said on ${on}.`
    : s.channels ? `It is still on ${on}: what is said there is lost for it.`
    : "It is on no channel any more: nothing that is said reaches it until it comes back and joins."
  return `${why} ${lost}`
}

// What a callback's state means for its sender.
const undelivered = c => [
  c.state === "disabled" ? "Its sender has left the channels, and has to join again." : "",
  c.waiting ? `${many(c.waiting, "message")} ${c.waiting === 1 ? "waits" : "wait"} for the next attempt.` : "",
  c.given_up ? `${many(c.given_up, "message")} ${c.given_up === 1 ? "was" : "were"} given up, and can be replayed.` : "",
].filter(Boolean).join(" ")

// useMissing asks who is missing: {devices, callbacks, past, more, problem}. devices are those
// of the last week, the last to be lost first; past is the number of the others. devices is
// undefined until it is known.
function useMissing() {
  const [held, problem] = useAnswer("senders", { query: { state: "away", held: "true", limit: 500 } })
  const [waiting] = useAnswer("senders", { query: { state: "away", via: "mqtt", limit: 500 } })
  const [failing] = useAnswer("callbacks", { query: { state: "failing", limit: 100 } })
  const [off] = useAnswer("callbacks", { query: { state: "disabled", limit: 100 } })
  if (!held || !waiting) return { problem }
  const seen = s => Date.parse(s.seen ?? 0), since = Date.now() - old
  const all = [...new Map([...held.senders, ...waiting.senders].map(s => [s.id, s])).values()].sort((a, b) => seen(b) - seen(a))
  const devices = all.filter(s => seen(s) > since)
  return { devices, callbacks: [...failing?.callbacks ?? [], ...off?.callbacks ?? []], past: all.length - devices.length, more: Boolean(held.next || waiting.next), problem }
}

const howMany = m => [m.devices.length ? many(m.devices.length, "device") + (m.more ? " and more" : "") : "", m.callbacks.length ? many(m.callbacks.length, "callback") : ""].filter(Boolean).join(" and ")

// useMissingWords says in a few words how many are missing; "": nobody, or it is not known.
export function useMissingWords() {
  const m = useMissing()
  return m.devices ? howMany(m) : ""
}

// Missing lists who is missing. onShow lists all that are away.
export function Missing({ onShow }) {
  const m = useMissing(), [all, setAll] = useState(false)
  const card = (state, title, children) => html`<section class="card missing" aria-labelledby="missing"><header><h2 id="missing">${state ? html`<${Lamp} state=${state}>${title}</${Lamp}>` : title}</h2></header>${children}</section>`
  if (m.problem || !m.devices) return card("", "Who is missing", m.problem ? html`<${Fault} of=${m.problem} />` : html`<${Pending} lines=2 />`)
  const lines = all ? m.devices : m.devices.slice(0, shown), words = howMany(m)
  return card(words ? "bad" : "good", words ? `Missing: ${words}` : "Nobody is missing", html`
    ${words ? html`<ul class="plain">${m.callbacks.map(c => html`<${LostCallback} key=${"c" + c.key} c=${c} />`)}${lines.map(s => html`<${LostDevice} key=${s.id} s=${s} />`)}</ul>`
      : html`<p class="hint">Every device that has a name is here, and every callback is taken.</p>`}
    ${m.devices.length > lines.length ? html`<p class="buttons"><button type="button" onClick=${() => setAll(true)}>Show ${count(m.devices.length - lines.length)} more</button></p>` : null}
    ${m.past ? html`<p class="hint">${many(m.past, "device")} ${m.past === 1 ? "has" : "have"} been away for more than a week. <button type="button" class="quiet" onClick=${onShow}>List all that are away</button></p>` : null}`)
}

const LostDevice = ({ s }) => html`<li><strong><a href=${pathOf(s.id)}>${nameOf(s)}</a></strong> <span class="since">${s.seen ? `last seen ${ago(s.seen)}` : "never seen"}</span><p>${whyAway(s)}</p></li>`

const LostCallback = ({ c }) => html`<li><strong><a href=${pathOf(c.sender)}>${nameOf(c)}</a></strong> <span class="since">its callback ${c.state === "disabled" ? "was given up" : `fails${c.failing_since ? ` for ${span(Date.now() - Date.parse(c.failing_since))}` : ""}`}</span>
  <p>${c.last_error ? `The last attempt: ${c.last_error.detail}. ` : ""}${undelivered(c)} <a href="#/callbacks">To the callbacks</a></p></li>`
