// One device or program: what it is, and what may be done with it; and the key of a new one.
import { generate } from "./vendor/lean-qr.js"
import { Confirm, Copy, Dialog, Fault, Icon, Pending, Via, announce, html, protocolName, useAct, useRef, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { useAnswer } from "./pages.js"
import { State } from "./devices.js"
import { whyAway } from "./missing.js"
import { ago, count, many, reason } from "./words.js"

const most = 20 // channels that are shown

export const nameOf = s => s.name || `Sender ${s.id ?? s.sender}`
export const pathOf = id => `#/devices/${id}`

// Device shows the sender of an id.
export function Device({ of }) {
  const id = /^[1-9]\d{0,9}$/.test(of) ? Number(of) : 0
  const [s, problem, reload] = useAnswer(`senders/${id || 4294967296}`, { every: 5000 })
  const [doing, setDoing] = useState(""), close = () => { setDoing(""); reload() }
  const back = html`<p><a class="back" href="#/devices"><${Icon} name="back" />All devices</a></p>`
  if (!s) return html`${back}<h1>Device ${of}</h1>${problem?.status === 404 ? html`<p class="empty">There is no sender with this id. It may have been forgotten.</p>` : problem ? html`<${Fault} of=${problem} />` : html`<${Pending} />`}`
  const acts = { rename: Rename, protect: Protect, token: NewToken, forget: Forget }
  return html`${back}<h1>${nameOf(s)}</h1><${Fault} of=${problem} />
    <section class="card"><dl class="pairs">
      <div><dt>State</dt><dd><${State} of=${s} /></dd></div>
      ${s.state === "away" || s.late ? html`<div><dt>What that means</dt><dd>${whyAway(s)}</dd></div>` : null}
      <div><dt>Id</dt><dd>${s.id} <${Copy} text=${String(s.id)} label="Copy the id" /></dd></div>
      <div><dt>Reached by</dt><dd>${s.via.length ? s.via.map(p => html`<${Via} key=${p} name=${p} /> `) : html`nothing just now${s.last_via ? html`, last by <${Via} name=${s.last_via} />` : null}`}</dd></div>
      ${s.address ? html`<div><dt>Address</dt><dd><code>${s.address}</code></dd></div>` : null}
      <div><dt>Is on</dt><dd>${s.on.length ? s.on.slice(0, most).map((c, i) => html`${i ? ", " : "channel "}<a key=${c} href="#/channels/${c}">${c}</a>`) : "no channel"}${s.on.length > most ? ` and ${count(s.channels - most)} more` : ""}</dd></div>
      <div><dt>Lost</dt><dd>${s.lost.length ? html`<ul class="plain">${s.lost.map(l => html`<li key=${l.via + l.reason}>${many(l.n, "message")} over ${protocolName(l.via)}, the last ${ago(l.last)}<small>${reason(l.reason).title}. ${reason(l.reason).advice}</small></li>`)}</ul>` : "nothing that the gateway knows of, since its start"}</dd></div>
      <div><dt>Protected</dt><dd>${s.protected ? "Yes: whoever registers its name again needs its token." : "No: whoever has the secret key may register its name again, which gives a new token."}</dd></div>
      <div><dt>Reported when away</dt><dd>${s.held ? "Yes: it used its name over MQTT, UDP or TCP. It counts as missing when it is away without a goodbye, and its id alone is not enough to speak for it." : "For an hour at most: it never used a name over MQTT, UDP or TCP."}</dd></div>
    </dl>
    ${mayDo("manage") ? html`<p class="buttons">
      <button type="button" onClick=${() => setDoing("rename")}>Rename</button>
      ${s.protected || s.token && s.name ? html`<button type="button" onClick=${() => setDoing("protect")}>${s.protected ? "Protect no longer" : "Protect"}</button>` : null}
      <button type="button" onClick=${() => setDoing("token")}>New token</button>
      <button type="button" class="danger" onClick=${() => setDoing("forget")}>Forget</button></p>` : null}
    </section>
    <${Calls} id=${s.id} />
    ${doing ? html`<${acts[doing]} s=${s} onClose=${close} />` : null}`
}

// Calls lists a sender's callbacks.
function Calls({ id }) {
  const [answer] = useAnswer("callbacks", { query: { from: `${id}-`, limit: 100 } })
  const own = answer?.callbacks.filter(c => c.sender === id) ?? []
  return own.length ? html`<section class="card" aria-labelledby="calls"><h2 id="calls">Its callbacks</h2>
    <ul class="plain lines">${own.map(c => html`<li key=${c.key}><code>${c.url}</code> <span class="hint">${c.state}, ${many(c.waiting, "message")} waiting, ${count(c.given_up)} given up</span></li>`)}</ul>
    <p><a href="#/callbacks">To the callbacks</a></p></section>` : null
}

function Rename({ s, onClose }) {
  const [busy, run, problem] = useAct(), field = useRef()
  const submit = async e => {
    e.preventDefault()
    const name = field.current.value.trim()
    if (await run(() => call("PATCH", `senders/${s.id}`, { body: { name } }))) { announce(`It is called ${name} now.`); onClose() }
  }
  return html`<${Dialog} title="Rename ${nameOf(s)}" onClose=${onClose}><form class="fields" onSubmit=${submit}>
    <label>New name<input ref=${field} name="name" defaultValue=${s.name ?? ""} maxlength="64" required autofocus autocomplete="off" spellcheck=${false} aria-describedby="rename-hint" /></label>
    <p id="rename-hint" class="hint">Letters, digits and _ . : - , up to 64. ${s.name ? html`The name ${s.name} becomes free: a device that still registers with it gets another id. Change the name in the device too.` : "Its id and connections stay."}</p>
    <${Fault} of=${problem} />
    <p class="buttons"><button class="main" disabled=${busy}>Rename</button><button type="button" onClick=${onClose}>Cancel</button></p>
  </form></${Dialog}>`
}

function Protect({ s, onClose }) {
  const [busy, run, problem] = useAct(), on = !s.protected
  const act = async () => { if (await run(() => call("PATCH", `senders/${s.id}`, { body: { protected: on } }))) onClose() }
  return html`<${Dialog} title=${on ? `Protect ${nameOf(s)}` : `Protect ${nameOf(s)} no longer`} onClose=${onClose}>
    <p>${on ? "Then the secret key alone does not register its name again: its token is needed too. A device that does not have the token cannot come back with this name."
      : "Then anybody who has the secret key may register its name again, which ends its token."}</p>
    <${Fault} of=${problem} />
    <p class="buttons"><button type="button" class="main" disabled=${busy} onClick=${act}>${on ? "Protect it" : "Protect it no longer"}</button><button type="button" onClick=${onClose}>Cancel</button></p>
  </${Dialog}>`
}

function NewToken({ s, onClose }) {
  const [busy, run, problem] = useAct(), [token, setToken] = useState("")
  const act = () => run(async () => setToken((await call("POST", `senders/${s.id}/token`, { body: {} })).token))
  return html`<${Dialog} title="New token for ${nameOf(s)}" onClose=${onClose}>
    ${token ? html`<p>This is shown once. Whoever has it speaks for ${nameOf(s)}.</p><p class="secret"><code>${token}</code> <${Copy} text=${token} /></p>
      <p class="buttons"><button type="button" class="main" onClick=${onClose}>Done</button></p>`
    : html`<p>The token that ${nameOf(s)} has now is refused for every new request and connection, and short tokens made with it end. Open connections stay. This cannot be taken back.</p>
      <${Fault} of=${problem} />
      <p class="buttons"><button type="button" class="danger" disabled=${busy} onClick=${act}>End the old token, and show a new one</button><button type="button" onClick=${onClose}>Keep the old one</button></p>`}
  </${Dialog}>`
}

function Forget({ s, onClose }) {
  const act = async () => {
    await call("DELETE", `senders/${s.id}`)
    announce(`${nameOf(s)} is forgotten.`)
    location.hash = "#/devices"
  }
  return html`<${Confirm} title="Forget ${nameOf(s)}?" button="Forget ${nameOf(s)}" act=${act} onClose=${onClose}>
    <p>${nameOf(s)} (id ${s.id}) is disconnected, leaves ${many(s.channels, "channel")}, and its token stops working. Its callbacks and waiting MQTT sessions end, with what waits in them. Its name becomes free.</p>
    <p>If it registers again with the secret key, it begins anew.</p>
  </${Confirm}>`
}

// NewDevice shows the own key of a device that speaks session frames: to be copied into its
// program, or read by a camera.
export function NewDevice({ onClose }) {
  const [busy, run, problem] = useAct(), [made, setMade] = useState(null), field = useRef()
  const submit = e => {
    e.preventDefault()
    run(async () => setMade(await call("GET", `devices/${encodeURIComponent(field.current.value.trim())}/key`)))
  }
  return html`<${Dialog} title=${made ? `The key for ${made.name}` : "New device"} onClose=${onClose}>
    ${made ? html`<${Key} of=${made} /><p class="buttons"><button type="button" class="main" onClick=${onClose}>Done</button><button type="button" onClick=${() => setMade(null)}>Another one</button></p>`
    : html`<form class="fields" onSubmit=${submit}>
      <label>Name of the device<input ref=${field} name="name" maxlength="64" required autofocus autocomplete="off" spellcheck=${false} aria-describedby="key-hint" /></label>
      <p id="key-hint" class="hint">Letters, digits and _ . : - , up to 64. The device registers with it, and has the same id each time. Nothing is stored until then.</p>
      <${Fault} of=${problem} />
      <p class="buttons"><button class="main" disabled=${busy}>Show its key</button><button type="button" onClick=${onClose}>Cancel</button></p>
    </form>`}
  </${Dialog}>`
}

function Key({ of }) {
  return html`<p>With this key and the name <code>${of.name}</code> the device registers by session frames over UDP or TCP. It is this device's own: whoever reads it there can be this device and no other. Once it has registered so, its name needs this key.</p>
    <h3>For a sketch in C</h3><pre class="copied" tabindex="0">${of.c}</pre><p><${Copy} text=${of.c} label="Copy the C array" /></p>
    <h3>In hexadecimal</h3><pre class="copied">${of.hex}</pre><p><${Copy} text=${of.hex} label="Copy the digits" /></p>
    <h3>For a camera</h3><${QR} text=${of.hex} label="QR code: the key in hexadecimal, as above" />`
}

const quiet = 4 // modules without a mark around the code (ISO/IEC 18004, 9.1)

// QR draws a text as one path, black on white in the dark theme too: cameras expect that.
export function QR({ text, label }) {
  const code = generate(text), n = code.size + 2 * quiet
  let d = ""
  for (let y = 0; y < code.size; y++) for (let x = 0; x < code.size; x++) if (code.get(x, y)) d += `M${x + quiet} ${y + quiet}h1v1h-1z`
  return html`<svg class="qr" role="img" aria-label=${label} viewBox="0 0 ${n} ${n}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h${n}v${n}H0z" /><path fill="#000" d=${d} /></svg>`
}
