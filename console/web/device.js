// One device or program: what it is, and what may be done with it.
import { Confirm, Copy, Dialog, Fault, Icon, Pending, Via, announce, html, useAct, useRef, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { useAnswer } from "./pages.js"
import { State } from "./devices.js"
import { whyAway } from "./missing.js"
import { many } from "./words.js"

export const nameOf = s => s.name || `Sender ${s.id ?? s.sender}`
export const pathOf = id => `#/devices/${id}`

// Device shows the sender of an id.
export function Device({ of }) {
  const id = /^[1-9]\d{0,9}$/.test(of) ? Number(of) : 0
  const [answer, problem, reload] = useAnswer("senders", { query: { from: id || 1, limit: 1 } })
  const [doing, setDoing] = useState(""), close = () => { setDoing(""); reload() }
  const s = id ? answer?.senders.find(s => s.id === id) : undefined
  const back = html`<p><a class="back" href="#/devices"><${Icon} name="back" />All devices</a></p>`
  if (!s) return html`${back}<h1>Device ${of}</h1>${problem ? html`<${Fault} of=${problem} />` : answer || !id ? html`<p class="empty">There is no sender with this id. It may have been forgotten.</p>` : html`<${Pending} />`}`
  const acts = { rename: Rename, protect: Protect, token: NewToken, forget: Forget }
  return html`${back}<h1>${nameOf(s)}</h1><${Fault} of=${problem} />
    <section class="card"><dl class="pairs">
      <div><dt>State</dt><dd><${State} of=${s} /></dd></div>
      ${s.state === "away" ? html`<div><dt>What that means</dt><dd>${whyAway(s)}</dd></div>` : null}
      <div><dt>Id</dt><dd>${s.id} <${Copy} text=${String(s.id)} label="Copy the id" /></dd></div>
      <div><dt>Reached by</dt><dd>${s.via.length ? s.via.map(p => html`<${Via} key=${p} name=${p} /> `) : "nothing just now"}</dd></div>
      <div><dt>Is on</dt><dd>${many(s.channels, "channel")}</dd></div>
      <div><dt>Protected</dt><dd>${s.protected ? "Yes: who registers its name again needs its token." : "No: who has the secret key may register its name again, which gives a new token."}</dd></div>
      <div><dt>Held</dt><dd>${s.held ? "Yes: its name was used over MQTT, UDP or TCP. The gateway knows it again, and its id alone is not enough to speak for it." : "No: its name was never used over MQTT, UDP or TCP."}</dd></div>
    </dl>
    ${mayDo("manage") ? html`<p class="buttons">
      <button type="button" onClick=${() => setDoing("rename")}>Rename</button>
      <button type="button" onClick=${() => setDoing("protect")}>${s.protected ? "Protect no longer" : "Protect"}</button>
      <button type="button" onClick=${() => setDoing("token")}>New token</button>
      <button type="button" class="danger" onClick=${() => setDoing("forget")}>Forget</button></p>` : null}
    </section>
    ${doing ? html`<${acts[doing]} s=${s} onClose=${close} />` : null}`
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
