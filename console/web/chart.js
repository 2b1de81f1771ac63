// The chart of messages a second, by protocol, one on top of the other. It is drawn by hand:
// for one chart a library would weigh more than all screens.
import { html, useRef, useState } from "./ui.js"
import { count, rate, span } from "./words.js"

const width = 600, height = 200 // of the drawing; the page scales it

// Chart draws values, messages of each sample by protocol, which are `every` seconds apart.
// chosen is the sample that is looked at, or null; onChoose(index or null) changes it.
export function Chart({ values, every, chosen, onChoose }) {
  const box = useRef(), [focused, setFocused] = useState(false)
  const names = Object.keys(values).filter(name => values[name].some(Boolean))
  const n = Math.max(2, ...Object.values(values).map(v => v.length))
  const sums = Array.from({ length: n }, (_, i) => names.reduce((sum, name) => sum + (values[name][i] ?? 0), 0) / every)
  const top = roundUp(Math.max(1, ...sums))
  const x = i => width * i / (n - 1), y = v => height - height * v / top
  const base = new Array(n).fill(0)
  const layers = names.map(name => {
    const low = base.map((v, i) => `${x(i).toFixed(1)} ${y(v).toFixed(1)}`)
    for (let i = 0; i < n; i++) base[i] += (values[name][i] ?? 0) / every
    const high = base.map((v, i) => `${x(i).toFixed(1)} ${y(v).toFixed(1)}`)
    return html`<g key=${name} class="layer via-${name}"><path class="area" d=${`M${high.join("L")}L${low.reverse().join("L")}Z`} /><path class="edge" d=${`M${high.join("L")}`} /></g>`
  })
  const point = e => {
    const r = box.current.getBoundingClientRect()
    onChoose(Math.max(0, Math.min(n - 1, Math.round((e.clientX - r.left) / r.width * (n - 1)))))
  }
  const key = e => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -15, PageDown: 15, Home: -n, End: n }[e.key]
    if (e.key === "Escape") onChoose(null)
    if (!step) return
    e.preventDefault()
    onChoose(Math.max(0, Math.min(n - 1, (chosen ?? n - 1) + step)))
  }
  const at = chosen ?? n - 1
  return html`<div class="chart">
    <div ref=${box} class="plot" role="slider" tabindex="0" aria-label="Messages a second over time; arrow keys go through it" aria-valuemin="0" aria-valuemax=${n - 1} aria-valuenow=${at}
      aria-valuetext=${`${rate(sums[at] ?? 0)} messages a second, ${when(n, at, every)}`}
      onPointerMove=${point} onPointerLeave=${() => focused || onChoose(null)} onKeyDown=${key} onFocus=${() => setFocused(true)} onBlur=${() => { setFocused(false); onChoose(null) }}>
      <svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" aria-hidden="true">
        <path class="grid" d="M0 1H${width}M0 ${height / 2}H${width}M0 ${height - 1}H${width}" />${layers}
        ${chosen === null ? null : html`<path class="cursor" d="M${x(chosen).toFixed(1)} 0V${height}" />`}
      </svg>
    </div>
    <p class="scale" aria-hidden="true"><span>${count(top)}</span><span>${top >= 2 ? count(top / 2) : "0.5"}</span><span>0</span></p>
    <p class="times" aria-hidden="true"><span>${span(n * every * 1000)} ago</span><span>now</span></p>
  </div>`
}

// when says how long ago a sample was.
export const when = (n, i, every) => i >= n - 1 ? "now" : `${span((n - 1 - i) * every * 1000)} ago`

// roundUp returns the next of 1, 2, 4, 10, 20, 40, 100 …
function roundUp(v) {
  const power = 10 ** Math.floor(Math.log10(v))
  return power * [1, 2, 4, 10].find(f => f * power >= v)
}
