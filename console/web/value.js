// The bytes of a retained message: as text, as JSON with its lines, or in hexadecimal.
import { Copy, html, useState } from "./ui.js"
import { count } from "./words.js"

const inText = new TextDecoder("utf-8", { fatal: true })

// textOf returns what bytes say in UTF-8; null: they are none.
export function textOf(bytes) {
  try { return inText.decode(bytes) } catch { return null }
}

// isJSON reports whether a text is an object or a list.
function isJSON(text) {
  if (!/^\s*[[{]/.test(text ?? "")) return false
  try { JSON.parse(text); return true } catch { return false }
}

const deepest = 40 // levels that are indented

// indented gives JSON a line for each value. It moves white space only: a number of 20 digits
// stays what it is, as it would not if it were parsed.
export function indented(text) {
  let out = "", depth = 0
  const line = () => "\n" + "  ".repeat(Math.min(depth, deepest))
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[[\]{},:]|[^\s[\]{},:"]+/g)) {
    if (token === "{" || token === "[") { depth++; out += token + line() }
    else if (token === "}" || token === "]") { depth--; out += line() + token }
    else if (token === ",") out += "," + line()
    else if (token === ":") out += ": "
    else out += /^[[{]/.test(token) ? token[0] + token.at(-1) : token
  }
  return out
}

const rows = 256 // of 16 bytes, shown at once
const two = b => b.toString(16).padStart(2, "0")

// hex shows bytes in rows: where, what, and as characters.
export function hex(bytes, most) {
  const lines = []
  for (let i = 0; i < bytes.length && lines.length < most; i += 16) {
    const part = [...bytes.subarray(i, i + 16)]
    lines.push(`${i.toString(16).padStart(6, "0")}  ${part.map(two).join(" ").padEnd(47)}  ${part.map(b => b > 31 && b < 127 ? String.fromCharCode(b) : "·").join("")}`)
  }
  return lines.join("\n")
}

const longest = 20000 // characters shown at once

// Value shows bytes, and lets one choose how.
export function Value({ bytes }) {
  const text = textOf(bytes), json = isJSON(text)
  const [chosen, choose] = useState(""), [all, setAll] = useState(false)
  const possible = [json ? "JSON" : "", text === null ? "" : "Text", "Hex"].filter(Boolean)
  const as = possible.includes(chosen) ? chosen : possible[0]
  const whole = as === "JSON" ? indented(text) : as === "Text" ? text : hex(bytes, all ? Infinity : rows)
  const cut = !all && (as === "Hex" ? bytes.length > rows * 16 : whole.length > longest)
  return html`<div class="tools"><span class="group" role="group" aria-label="Show it as">${possible.map(p => html`<button key=${p} type="button" aria-pressed=${String(p === as)} onClick=${() => choose(p)}>${p}</button>`)}</span>
      <${Copy} text=${as === "Hex" ? [...bytes].map(two).join("") : text} label="Copy the value" /></div>
    <pre class=${as === "Hex" ? "value hex" : "value"} tabindex="0" role="group" aria-label="Value">${cut && as !== "Hex" ? whole.slice(0, longest) + "…" : whole}</pre>
    ${cut ? html`<p class="buttons"><button type="button" onClick=${() => setAll(true)}>Show all of it</button><span class="hint">${count(bytes.length)} bytes</span></p>` : null}`
}
