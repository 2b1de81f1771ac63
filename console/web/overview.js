// The overview: does it work, how much is said, and what was not delivered, with what to do.
import { Empty, Lamp, Pending, Via, html, use, useNow, useState } from "./ui.js"
import { session } from "./session.js"
import { gateway, rates, useRates } from "./feed.js"
import { link } from "./live.js"
import { useMissingWords } from "./missing.js"
import { useAnswer } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { Chart, when } from "./chart.js"
import { ago, count, many, rate, reason, span } from "./words.js"

const whoseMost = 5 // receivers of one line

export function Overview() {
  useRates()
  const r = use(rates), g = use(gateway), [chosen, choose] = useState(null)
  if (!r || !g) return html`<h1>Overview</h1><${Slow} /><${Pending} lines=8 />`
  const drops = r.drops.map(d => ({ ...d, ...reason(d.reason) })).sort((a, b) => b.degree * (b.recent > 0) - a.degree * (a.recent > 0) || b.degree - a.degree || b.recent - a.recent || b.total - a.total)
  return html`<${Verdict} r=${r} g=${g} drops=${drops} />
    <div class="columns">
      <section class="card" aria-labelledby="rates"><header><h2 id="rates">Messages a second</h2><span class="hint">came in, by protocol</span></header>
        <${Chart} values=${r.in} every=${r.every} chosen=${chosen} onChoose=${choose} />
        <${Table} r=${r} chosen=${chosen} />
      </section>
      <${Facts} r=${r} g=${g} />
    </div>
    <${Drops} drops=${drops} /><${Refused} />`
}

const keys = { wrong_key: "a wrong key", wrong_password: "a wrong password", wrong_token: "a wrong token", wrong_sender: "an unknown id" }

// Refused is who tried to come in, and had not what it needs.
function Refused() {
  const [answer] = useAnswer("refusals")
  return answer?.refusals.length ? html`<section class="card" aria-labelledby="refused"><h2 id="refused">Refused in the last hour</h2>
    <ul class="plain">${answer.refusals.map(f => html`<li key=${f.address + f.via + f.reason}><${Via} name=${f.via} /> <bdi>${f.name}</bdi> ${f.address}: ${keys[f.reason] ?? f.reason}, ${many(f.tries, "time")}, last ${ago(f.last)}</li>`)}</ul>
  </section>` : null
}

// Slow says that the answer takes long.
function Slow() {
  const [since] = useState(Date.now), now = useNow()
  return now - since > 8000 ? html`<p class="notice" role="status">The gateway took too long.</p>` : null
}

// Verdict is one sentence about all of it.
function Verdict({ r, g, drops }) {
  const missing = useMissingWords()
  const lost = drops.filter(d => d.degree === 3 && d.recent > 0)
  const n = lost.reduce((sum, d) => sum + d.recent, 0)
  const apart = g.remote_fault ?? g.cluster_fault
  const state = g.ready ? "bad" : n || missing || apart ? "watch" : "good"
  const words = g.ready ? "The gateway is not ready." : g.remote_fault ? "It works, but without the foreign broker." : g.cluster_fault ? "It works, but apart from the other gateways." : n ? "It works, but messages were lost." : missing ? "It works, but somebody is missing." : "Everything works."
  const last = totals => Object.values(totals).reduce((sum, v) => sum + (v.at(-1) ?? 0), 0) / r.every
  return html`<header class="verdict"><h1><${Lamp} state=${state}>${words}</${Lamp}></h1>
    <p>${g.ready ? `${g.ready.detail} ` : ""}${apart ? `${apart[0].toUpperCase()}${apart.slice(1)}. ` : ""}${n ? `${many(n, "message")} in the last 5 minutes. Above all: ${lost[0].title.toLowerCase()}, over ${lost[0].via.toUpperCase()}. ` : ""}Up for ${span(Date.parse(g.now) - Date.parse(g.started))}, ${rate(last(r.in))} messages a second in, ${rate(last(r.out))} out.</p>
    ${missing ? html`<p><a href="#/devices">Missing: ${missing}</a></p>` : null}
    ${session.get().open ? html`<p class="notice">The gateway is open: everybody in this network may use it. A <code>secret_key</code> in the configuration closes it.</p>` : null}
  </header>`
}

// Table has the numbers of the sample that is looked at, or of the last one.
function Table({ r, chosen }) {
  const names = Object.keys(r.in).filter(name => name !== "callback" && name !== "console" || [r.in, r.out, r.joined].some(v => v[name]?.some(Boolean)))
  const n = r.waiting.length, at = chosen ?? n - 1
  const cell = (values, name, per) => (values[name]?.[at] ?? 0) / per
  const sum = (values, per) => names.reduce((total, name) => total + cell(values, name, per), 0)
  return html`<table class="numbers"><caption>${chosen === null ? "Now" : when(n, at, r.every)}</caption>
    <thead><tr><th scope="col">Protocol</th><th scope="col">In</th><th scope="col">Out</th><th scope="col">Joined</th></tr></thead>
    <tbody>${names.map(name => html`<tr key=${name}><th scope="row"><${Via} name=${name} /></th><td>${rate(cell(r.in, name, r.every))}</td><td>${rate(cell(r.out, name, r.every))}</td><td>${count(cell(r.joined, name, 1))}</td></tr>`)}</tbody>
    <tfoot><tr><th scope="row">All</th><td>${rate(sum(r.in, r.every))}</td><td>${rate(sum(r.out, r.every))}</td><td>${count(sum(r.joined, 1))}</td></tr></tfoot>
  </table>`
}

function Facts({ r, g }) {
  const p99 = r.delay.p99.findLast(v => v !== null)
  const fact = (name, value, hint) => html`<div><dt>${name}</dt><dd>${value}${hint ? html`<small>${hint}</small>` : null}</dd></div>`
  return html`<section class="card facts" aria-labelledby="now"><h2 id="now">Right now</h2><dl>
    ${fact("Delay inside the gateway", p99 === undefined ? "nothing was said" : p99 < 1 ? "under 1 ms" : `${rate(p99)} ms`, p99 === undefined ? "" : "for 99 of 100 messages")}
    ${fact("Waiting", many(r.waiting.at(-1) ?? 0, "message"), "for slow readers and callbacks")}
    ${fact("Version", g.version)}
    <div><dt>Listens on</dt><dd><ul class="plain">${Object.entries(g.listeners).map(([name, at]) => html`<li key=${name}><span class="hint">${name}</span> <code>${at}</code></li>`)}</ul></dd></div>
  </dl></section>`
}

function Drops({ drops }) {
  use(link)
  const [answer] = useAnswer("losses", { query: { limit: 500 }, every: 5000, again: drops.length })
  const whose = d => {
    const all = answer?.losses.filter(l => l.via === d.via && l.reason === d.reason) ?? []
    return all.length ? html`<small>Lost by ${all.slice(0, whoseMost).map((l, i) => html`${i ? ", " : ""}${l.gone ? nameOf(l) : html`<a href=${pathOf(l.sender)}>${nameOf(l)}</a>`} (${count(l.n)}, ${ago(l.last)})`)}${all.length > whoseMost ? ` and ${count(all.length - whoseMost)} more` : ""}</small>` : null
  }
  return html`<section class="card" aria-labelledby="drops"><h2 id="drops">What was not delivered</h2>
    ${drops.length ? html`<table class="numbers drops"><thead><tr><th scope="col">Why, and what to do</th><th scope="col">Where</th><th scope="col">Last 5 min</th><th scope="col">Since the start</th></tr></thead>
      <tbody>${drops.map(d => html`<tr key=${d.via + d.reason}><th scope="row"><strong>${d.title}</strong><small>${linked(d.advice)}</small>${whose(d)}</th><td><${Via} name=${d.via} /></td><td data-label="last 5 min" class=${d.recent ? "degree-" + d.degree : ""}>${count(d.recent)}</td><td data-label="in all">${count(d.total)}</td></tr>`)}</tbody></table>`
    : html`<${Empty}>Nothing. Every message since the start reached everybody it was for.</${Empty}>`}
  </section>`
}

// linked makes links of the names of screens in a text.
const screens = { Devices: "#/devices", Callbacks: "#/callbacks", Settings: "#/settings" }
const linked = text => text.split(/(Devices|Callbacks|Settings)/).map(part => screens[part] ? html`<a href=${screens[part]}>${part}</a>` : part)
