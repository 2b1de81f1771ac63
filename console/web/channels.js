// All channels: who is there, how much is said, and what was said last.
import { Via, html, use, useEffect, useMemo, useNow, useState } from "./ui.js"
import { follow } from "./live.js"
import { inLine } from "./message.js"
import { Paged, usePages } from "./pages.js"
import { ago, many, rate } from "./words.js"

const orders = [["number", "Number"], ["busy", "Busiest"], ["last", "Last heard"]]
const slot = "watchtower.channels"

export function Channels() {
  const [order, setOrder] = useState(() => sessionStorage.getItem(slot) ?? "number"), [find, setFind] = useState("")
  const pages = usePages("channels", { field: "channels", key: c => c.channel, query: { order, find }, every: 5000 })
  const choose = value => {
    sessionStorage.setItem(slot, value)
    value === order ? pages.reload({ moving: true }) : setOrder(value)
  }
  return html`<header class="head"><h1>Channels</h1><${OpenOne} /></header>
    <div class="tools"><input type="search" placeholder="Find a number or a name" aria-label="Find a number or a name" value=${find} onInput=${e => setFind(e.target.value)} />
      <div class="group" role="group" aria-label="Order">${orders.map(([value, label]) => html`<button type="button" aria-pressed=${String(value === order)} onClick=${() => choose(value)}>${label}</button>`)}</div></div>
    <${Paged} of=${pages} empty=${find ? `No channel has “${find}” in its number or its name. You can open any number.` : html`There is no channel yet. One begins when somebody joins it: <a href="#/start">get started</a>.`}>
      ${list => html`<ul class="plain channels"><${Rows} list=${list} /></ul>`}
    </${Paged}>`
}

// What is shown of a channel is what came last: in a page of the list, or of what was said
// since. times has when that was.
const times = new WeakMap()
const since = c => {
  if (!times.has(c)) times.set(c, Date.now())
  return times.get(c)
}

function Rows({ list }) {
  const now = useNow(), [spoken, speak] = useState(() => new Map())
  useEffect(() => follow("channels", line => speak(before => new Map([...before, ...line.channels.map(c => [c.channel, c])]))), [])
  const shown = list.map(c => {
    const newer = spoken.get(c.channel)
    return newer && since(newer) >= since(c) ? newer : c
  })
  const seconds = shown.map(c => lastMinute(c, now))
  const top = Math.max(10, ...seconds.map(s => Math.max(0, ...s)))
  return shown.map((c, i) => html`<${Row} key=${c.channel} of=${c} seconds=${seconds[i]} top=${top} now=${now} />`)
}

// lastMinute is how many messages each of the last 60 seconds had. Nothing comes from the
// gateway for those in which nothing was said.
function lastMinute(c, now) {
  const quiet = Math.min(60, Math.max(0, Math.round((now - since(c)) / 1000 - 0.5)))
  return [...c.seconds, ...Array(quiet).fill(0)].slice(-60)
}

function Row({ of, seconds, top, now }) {
  const lately = seconds.slice(-10).reduce((sum, n) => sum + n, 0) / 10
  const path = spark(seconds, top), when = of.last ? ago(of.last.time, now) : ""
  // What looks as before is not drawn again.
  return useMemo(() => html`<li><a href=${"#/channels/" + of.channel}>
    <span class="number">${of.channel}</span>
    <span class="who"><bdi>${inLine(of.name ?? "")}</bdi><small>${of.count ? many(of.count, "member") : "nobody is on it"}</small> ${Object.entries(of.via).map(([via, n]) => html`<small class="some">${n} <${Via} name=${via} /></small>`)}</span>
    <svg class="spark" viewBox="0 0 60 20" preserveAspectRatio="none" aria-hidden="true"><path d=${path} /></svg>
    <span class="rate">${lately ? `${rate(lately)}/s` : html`<small>quiet</small>`}</span>
    <${Last} of=${of.last} when=${when} /></a></li>`, [of, path, lately, when])
}

function Last({ of, when }) {
  if (!of) return html`<span class="last"><small>nothing was said</small></span>`
  return html`<span class="last">${of.id ? html`<bdi class="code">${of.text ? inLine(of.text) : html`<small>nothing in it</small>`}${of.bytes > 160 ? " …" : ""}</bdi>` : null}
    <small>${of.id ? html`<bdi>${inLine(of.name ?? String(of.sender))}</bdi>, ` : ""}${when}</small></span>`
}

const spark = (seconds, top) => "M0 19.500h60" + seconds.map((n, i) => n ? `M${60.5 - seconds.length + i} 20V${(20 - Math.max(1.5, n / top * 20)).toFixed(1)}` : "").join("")

function OpenOne() {
  const [wrong, setWrong] = useState("")
  const go = e => {
    e.preventDefault()
    const n = new FormData(e.target).get("channel").trim()
    if (/^0*[1-9]\d*$/.test(n) && Number(n) < 2 ** 32) location.hash = "#/channels/" + Number(n)
    else setWrong(`Channels are whole numbers from 1 to ${2 ** 32 - 1}.`)
  }
  return html`<form class="open-one" onSubmit=${go}><label for="open-one">Any channel</label>
    <input id="open-one" name="channel" inputmode="numeric" autocomplete="off" placeholder="7" aria-invalid=${wrong ? "true" : undefined} aria-describedby="open-wrong" onInput=${() => setWrong("")} />
    <button type="submit">Open</button><span id="open-wrong" class="degree-3" role="status">${wrong}</span></form>`
}
