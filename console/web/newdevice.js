// A key for a device that speaks session frames: to be copied into its program, or read by a
// camera.
import { generate } from "./vendor/lean-qr.js"
import { Copy, Dialog, Fault, html, useAct, useRef, useState } from "./ui.js"
import { call } from "./session.js"

export function NewDevice({ onClose }) {
  const [busy, run, problem] = useAct(), [made, setMade] = useState(null), field = useRef()
  const submit = e => {
    e.preventDefault()
    run(async () => setMade(await call("GET", "device-key", { query: { name: field.current.value.trim() } })))
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
  return html`<p>With this key and the name <code>${of.name}</code> the device registers by session frames over UDP or TCP. The key is made from the gateway's secret key, and is the same for all devices: who has it can be any of them.</p>
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
