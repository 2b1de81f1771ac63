// What was said, as it is shown: in a line, as text, as a tree, in hexadecimal.
import { Copy, html, useMemo, useState } from "./ui.js"
import { bytes, count, many } from "./words.js"

const encoder = new TextEncoder(), decoder = new TextDecoder(), strict = new TextDecoder("utf-8", { fatal: true })
const lineLength = 300 // characters of a row
const firstText = 8000 // characters of a message that are shown at once
const firstHex = 64 // rows
const columns = 8
const firstChildren = 100

// inUTF8 is what bytes say in UTF-8; null: they are none.
export function inUTF8(bytes) {
  try { return strict.decode(bytes) } catch { return null }
}

// octets are the bytes of a message, whose body is text, bytes, or bytes in base64.
export function octets({ kind, body }) {
  if (kind !== "bytes") return encoder.encode(body)
  return typeof body === "string" ? Uint8Array.from(atob(body), c => c.charCodeAt(0)) : body
}
const textOf = m => m.kind === "bytes" ? decoder.decode(octets(m)) : m.body
const hex = list => Array.from(list, b => b.toString(16).padStart(2, "0"))

// fromHex reads bytes that somebody wrote in hexadecimal. It throws an error in words.
export function fromHex(text) {
  const digits = text.replace(/0x|[\s,:]/gi, ""), wrong = digits.match(/[^0-9a-f]/i)
  const problem = wrong ? `“${wrong[0]}” is no hexadecimal digit: 0–9 and a–f are.` : digits.length % 2 ? "Half a byte: the last digit has no partner. A byte has two." : ""
  if (problem) throw Object.assign(new Error(problem), { title: "Not sent" })
  return Uint8Array.from(digits.match(/../g) ?? [], two => parseInt(two, 16))
}

// What steers a text without being seen: C0 and C1, and what changes the direction or has no
// width (Unicode 16, 23.2 and 23.4).
const hidden = /[\0-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g
const hiddenInLine = new RegExp(hidden.source.replace("\\x08\\x0b-", ""), "g")
const sign = c => {
  const code = c.charCodeAt(0)
  return code < 32 ? String.fromCharCode(0x2400 + code) : code === 127 ? "␡" : `‹U+${code.toString(16).toUpperCase().padStart(4, "0")}›`
}

// visible shows what steers a text instead of obeying it. Lines and tabs stay.
export const visible = text => text.replace(hidden, sign)

// inLine is the same for a text that has to be one line.
export const inLine = text => text.replace(hiddenInLine, sign)

// haystack is what a filter looks through.
export const haystack = m => (m.kind === "bytes" ? textOf(m) + " " + hex(octets(m)).join(" ") : m.body).toLowerCase()

// read reads JSON with all digits of its numbers, where the browser can do that.
export function read(text) {
  const exactly = (_, value, context) => typeof value === "number" && context?.source && JSON.rawJSON && String(value) !== context.source ? JSON.rawJSON(context.source) : value
  return JSON.parse(text, exactly)
}

// valueOf is the value of a message that is JSON, whoever marked it as such or not: MQTT
// 3.1.1 and basic frames cannot. It is undefined for others.
function valueOf(m) {
  if (m.kind !== "json" && !(m.kind === "text" && /^\s*[[{]/.test(m.body))) return undefined
  try {
    return read(m.body)
  } catch {
    return undefined
  }
}
const looksLikeJSON = m => m.kind === "json" || m.kind === "text" && /^\s*(\{\s*["}]|\[.*\])/.test(m.body.slice(0, lineLength))

// The views of a message; best is the one that fits it.
export const views = [["best", "Best view"], ["text", "Text"], ["json", "JSON"], ["hex", "Hex"]]
const bestView = m => m.kind === "bytes" ? "hex" : valueOf(m) !== undefined ? "json" : "text"

// Preview is a message in one line.
export function Preview({ of, view, plain }) {
  if (view === "hex" || view === "best" && of.kind === "bytes") {
    const all = octets(of)
    return hex(all.subarray(0, lineLength / 3)).join(" ") + (all.length > lineLength / 3 ? " …" : "")
  }
  const json = view !== "text" && looksLikeJSON(of)
  let text = of.kind === "bytes" ? textOf(of) : of.body
  if (view === "json" && !json) text = JSON.stringify(text.slice(0, lineLength))
  text = inLine(text.slice(0, lineLength)) + (text.length > lineLength ? " …" : "")
  return json && !plain ? coloured(text) : text
}

// coloured gives the parts of JSON their colours. It may be cut short.
function coloured(text) {
  const parts = []
  let at = 0
  for (const m of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|true|false|null/g)) {
    parts.push(text.slice(at, m.index), html`<span class=${m[2] ? "json-key" : m[1] ? "json-text" : "json-value"}>${m[1] ?? m[0]}</span>`)
    at = m.index + (m[1] ?? m[0]).length
  }
  parts.push(text.slice(at))
  return parts
}

// Views shows a message in all its length, and lets one choose how, beginning with view.
export function Views({ of, view = "best", children }) {
  const [chosen, choose] = useState(view), best = useMemo(() => bestView(of), [of])
  const as = chosen === "best" ? best : chosen
  return html`<div class="group" role="group" aria-label="View">${views.slice(1).map(([v, text]) => html`<button key=${v} type="button" aria-pressed=${String(as === v)} onClick=${() => choose(v)}>${text}</button>`)}</div>
    <div class="value"><${Body} key=${as} of=${of} view=${as} /></div>
    <div class="buttons"><${Copy} text=${of.kind === "bytes" || as === "hex" ? hex(octets(of)).join(" ") : of.body} />${children}</div>`
}

function Body({ of, view }) {
  const value = useMemo(() => view === "json" ? valueOf(of) : undefined, [of, view])
  if (view === "hex") return html`<${Hex} of=${of} />`
  if (view === "text") return html`<${Text} text=${textOf(of)} />`
  if (value === undefined) return html`<p class="hint">This is not JSON.</p>`
  return html`<div tabindex="0" role="group" aria-label="The message as JSON"><ul class="json plain"><${Node} value=${value} depth=${0} /></ul></div>`
}

function Text({ text }) {
  const [all, showAll] = useState(false)
  const cut = !all && text.length > firstText
  return html`<pre tabindex="0" role="group" aria-label="The message as text"><bdi>${visible(cut ? text.slice(0, firstText) : text)}</bdi></pre>
    ${cut ? html`<p><button type="button" onClick=${() => showAll(true)}>All ${count(text.length)} characters</button></p>` : null}`
}

function Hex({ of }) {
  const [all, showAll] = useState(false)
  const b = useMemo(() => octets(of), [of])
  const rows = Math.ceil(b.length / columns), shown = all ? rows : Math.min(rows, firstHex), lines = []
  for (let i = 0; i < shown; i++) {
    const part = b.subarray(i * columns, (i + 1) * columns)
    const signs = Array.from(part, c => c > 31 && c < 127 ? String.fromCharCode(c) : "·").join("")
    lines.push(`${(i * columns).toString(16).padStart(4, "0")}  ${hex(part).join(" ").padEnd(columns * 3)}${signs}`)
  }
  return html`<pre class="hex" tabindex="0" role="group" aria-label="The message in hexadecimal">${lines.join("\n") || "no bytes"}</pre>
    ${shown < rows ? html`<p><button type="button" onClick=${() => showAll(true)}>All ${bytes(b.length)}</button></p>` : null}`
}

// Node is one value of a tree. What is in it is made when it is opened: a thousand levels
// cost nothing until somebody goes there.
function Node({ name, value, depth }) {
  const [open, setOpen] = useState(depth < 3), [most, setMost] = useState(firstChildren)
  const label = name === undefined ? null : html`<span class="json-key"><bdi>${inLine(name)}</bdi></span>: `
  if (value === null || typeof value !== "object" || JSON.isRawJSON?.(value)) return html`<li>${label}<${Leaf} value=${value} /></li>`
  const list = Array.isArray(value), names = Object.keys(value)
  if (!names.length) return html`<li>${label}${list ? "[]" : "{}"}</li>`
  return html`<li><details open=${open} onToggle=${e => setOpen(e.currentTarget.open)}>
    <summary>${label}<span class="hint">${list ? many(names.length, "item") : many(names.length, "field")}</span></summary>
    ${open ? html`<ul class="plain">${names.slice(0, most).map((key, i) => html`<${Node} key=${i} name=${key} value=${value[key]} depth=${depth + 1} />`)}
      ${names.length > most ? html`<li><button type="button" onClick=${() => setMost(most * 10)}>${count(names.length - most)} more</button></li>` : null}</ul>` : null}
  </details></li>`
}

function Leaf({ value }) {
  if (typeof value !== "string") return html`<span class="json-value">${JSON.isRawJSON?.(value) ? value.rawJSON : String(value)}</span>`
  return html`<span class="json-text"><bdi>${visible(JSON.stringify(value))}</bdi></span>`
}
