// Who is missing: devices that are away or silent though something remembers them, and callbacks
// that are not taken. It says in words why, and what is lost by that.
import { Fault, Lamp, Pending, html, protocolName, useState } from "./ui.js"
import { useAnswer } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { ago, count, many, span } from "./words.js"

const shown = 8 // lines at once
// How long it is news that one is away, in ms. Pages and scripts come and go.
const old = { http: 3600000, other: 7 * 86400000 }

// Why a device's connection ended, and what to look at.
const reasons = {
  goodbye: by => `It said goodbye ${by}, as a program that ends in good order, or a device that is switched off.`,
  silence: by => `It fell silent ${by}: nothing came for as long as its protocol allows. Look at its power and its network.`,
  connection: by => `Its connection ${by} broke, or was closed without a goodbye. Its program has ended, or the network failed.`,
  mistake: by => `It sent what is not allowed ${by}, and was disconnected. The gateway's log says what.`,
  slow: by => `It read too slowly ${by}, and was cut off. More is said than it, or its network, can take.`,
}
const over = via => `over ${protocolName(via)}`
const at = address => address ? ` at ${address}` : ""
const on = channels => `channel${channels.length === 1 ? "" : "s"} ${channels.join(", ")}`

// whyAway says why a sender is away or silent, and what is lost by that.
export function whyAway(s) {
  if (s.late) return "It is counted as here, but nothing came from it for longer than it promised. Look at its power and its network. If nothing comes, it will soon be away."
  const on = many(s.channels, "channel"), waits = s.via.includes("mqtt")
  const why = s.left ? reasons[s.left.why]?.(over(s.left.via)) : s.held ? "Why is not known: it left before the gateway's last start, or was made to." : "It is not connected, as a program that has ended."
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

// useMissing asks who is missing: {silent, devices, callbacks, past, more, problem}. silent are
// those that count as here, devices those that left lately, the last first; past is the number of the others. devices
// is undefined until it is known.
function useMissing() {
  const [found, problem] = useAnswer("senders", { query: { missing: "true", limit: 500 } })
  const [failing] = useAnswer("callbacks", { query: { state: "failing", limit: 100 } })
  const [off] = useAnswer("callbacks", { query: { state: "disabled", limit: 100 } })
  if (!found) return { problem }
  const seen = s => Date.parse(s.heard ?? s.seen ?? 0)
  const all = found.senders.sort((a, b) => seen(b) - seen(a)), silent = all.filter(s => s.late)
  const devices = all.filter(s => !s.late && seen(s) > Date.now() - (old[s.left?.via] ?? old.other))
  return { silent, devices, callbacks: [...failing?.callbacks ?? [], ...off?.callbacks ?? []], past: all.length - devices.length - silent.length, more: Boolean(found.next), problem }
}

const howMany = m => [
  m.devices.length ? many(m.devices.length, "device") + (m.more ? " and more" : "") : "",
  m.silent.length ? many(m.silent.length, "silent device") : "",
  m.callbacks.length ? many(m.callbacks.length, "callback") : "",
].filter(Boolean).join(" and ")

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
  const devices = [...m.silent, ...m.devices], lines = all ? devices : devices.slice(0, shown), words = howMany(m)
  return card(words ? "bad" : "good", words ? `Missing: ${words}` : "Nobody is missing", html`
    ${words ? html`<ul class="plain">${m.callbacks.map(c => html`<${LostCallback} key=${"c" + c.key} c=${c} />`)}${lines.map(s => html`<${LostDevice} key=${s.id} s=${s} />`)}</ul>`
      : html`<p class="hint">Every device that has a name is here or said goodbye, and every callback is taken.</p>`}
    ${devices.length > lines.length ? html`<p class="buttons"><button type="button" onClick=${() => setAll(true)}>Show ${count(devices.length - lines.length)} more</button></p>` : null}
    <${Nameless} />
    ${m.past ? html`<p class="hint">${many(m.past, "device")} ${m.past === 1 ? "has" : "have"} been away for longer. <button type="button" class="quiet" onClick=${onShow}>List all that are away</button></p>` : null}`)
}

const LostDevice = ({ s }) => html`<li><strong><a href=${pathOf(s.id)}>${nameOf(s)}</a></strong> <span class="since">${s.late ? `silent for ${span(Date.now() - Date.parse(s.heard))}` : s.seen ? `last seen ${ago(s.seen)}` : "never seen"}</span>${s.address ? html` <span class="hint">${at(s.address)}</span>` : null}<p>${whyAway(s)}</p></li>`

const LostCallback = ({ c }) => html`<li><strong><a href=${pathOf(c.sender)}>${nameOf(c)}</a></strong> <span class="since">its callback ${c.state === "disabled" ? "was given up" : `has failed${c.failing_since ? ` for ${span(Date.now() - Date.parse(c.failing_since))}` : ""}`}</span>
  <p>${c.last_error ? `The last attempt: ${c.last_error.detail}. ` : ""}${undelivered(c)} <a href="#/callbacks">To the callbacks</a></p></li>`

// Nameless are the devices without a name that left in the last hour.
function Nameless() {
  const [answer] = useAnswer("gone")
  return answer?.gone.length ? html`<h3>Left without a name, in the last hour</h3>
    <ul class="plain">${answer.gone.slice(0, shown).map(g => html`<li key=${g.sender}><strong>Sender ${g.sender}</strong>${at(g.address)}, on ${on(g.on)}, <span class="since">last heard ${ago(g.seen)}</span><p>${reasons[g.why]?.(over(g.via))}</p></li>`)}</ul>
    <p class="hint">${answer.gone.length > shown ? `And ${count(answer.gone.length - shown)} more. ` : ""}A device without a name gets another id each time: one of these may be back.</p>` : null
}
