// Get started: what to run to say the first word, and beside it what was heard.
import { Copy, Lamp, Pending, html, use, useEffect, useState } from "./ui.js"
import { call, session } from "./session.js"
import { listen, link } from "./live.js"
import { gateway } from "./feed.js"
import { clock } from "./words.js"
import { recipes } from "./recipes.js"

const port = listener => listener?.match(/:(\d+)$/)?.[1]
// direct is the gateway's own address: commands cannot go through Home Assistant's ingress.
const direct = listener => port(listener) && `http://${location.hostname}:${port(listener)}`
const kept = 5 // messages that are shown

// The key is nowhere but in this page, and gone with it.
const typed = { key: "", channel: undefined }

export function Start() {
  const g = use(gateway), [which, choose] = useState("curl"), [key, setKey] = useState(typed.key)
  const [channel, setChannel] = useState(typed.channel)
  useEffect(() => { if (!channel) unused().then(setChannel) }, [])
  if (!g || !channel) return html`<h1>Get started</h1><${Pending} lines=8 />`
  const { open, ingress } = session.get()
  const place = {
    http: ingress ? direct(g.listeners.http) : document.baseURI.replace(/[#?].*/, "").replace(/\/$/, ""), host: location.hostname, mqtt: port(g.listeners.mqtt), udp: port(g.listeners.udp),
    channel, key: key || (open ? "any" : "THE SECRET KEY"),
  }
  const recipe = recipes[which], steps = recipe.steps(place)
  return html`<h1>Get started</h1>
    <p>Copy these into a terminal or a sketch: they have the addresses of this gateway.</p>
    <div class="tools">
      <label>Channel <input type="number" min="1" max="4294967295" value=${channel} onChange=${e => { if (e.target.checkValidity() && e.target.value) setChannel(typed.channel = Number(e.target.value)) }} /></label>
      ${open ? null : html`<label>Secret key <input type="password" autocomplete="off" placeholder="to have it in the commands" value=${key} onInput=${e => setKey(typed.key = e.target.value)} /></label>`}
    </div>
    <div class="columns">
      <section class="card" aria-label="Commands">
        <${Tabs} which=${which} choose=${choose} />
        <div role="tabpanel" id="recipe" aria-labelledby=${"tab-" + which}>
          ${steps ? html`<ol class="steps">${steps.map(([words, code]) => html`<li key=${which + words}><p>${words}</p><pre tabindex="0" aria-label="Code">${code}</pre><${Copy} text=${code} /></li>`)}</ol>`
            : html`<p class="empty">This gateway does not listen for that. The configuration turned it off.</p>`}
          ${recipe.note ? html`<p class="hint">${recipe.note}</p>` : null}
        </div>
      </section>
      <${Heard} key=${channel} channel=${channel} />
    </div>`
}

// unused returns the smallest channel that nobody is on.
async function unused() {
  try {
    const { channels } = await call("GET", "channels", { query: { limit: 500 } })
    const used = new Set(channels.map(c => c.channel))
    for (let c = 1; ; c++) if (!used.has(c)) return c
  } catch {
    return 1
  }
}

function Tabs({ which, choose }) {
  const names = Object.keys(recipes)
  const key = e => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key]
    if (!step) return
    const next = names[(names.indexOf(which) + step + names.length) % names.length]
    choose(next)
    document.getElementById("tab-" + next).focus()
  }
  return html`<div class="group" role="tablist" aria-label="With what" onKeyDown=${key}>${names.map(name => html`<button key=${name} type="button" role="tab" id=${"tab-" + name} aria-controls="recipe" aria-selected=${String(name === which)} tabindex=${name === which ? 0 : -1} onClick=${() => choose(name)}>${recipes[name].title}</button>`)}</div>`
}

// Heard shows that it works.
function Heard({ channel }) {
  const [list, setList] = useState([]), l = use(link)
  useEffect(() => listen(channel, {}, line => line.id && setList(before => [line, ...before].slice(0, kept))), [channel])
  const words = l.state === "lost" ? ["bad", "No connection. It is tried again."] : list.length ? ["good", "Heard. It works."] : ["idle", "Waiting for your first message…"]
  return html`<section class="card" aria-labelledby="heard"><h2 id="heard">Channel ${channel}</h2>
    <p aria-live="polite"><${Lamp} state=${words[0]}>${words[1]}</${Lamp}></p>
    ${list.length ? html`<ul class="plain heard">${list.map(m => html`<li key=${m.id}><code>${typeof m.message === "string" ? m.message.slice(0, 200) : JSON.stringify(m.message).slice(0, 200)}</code><small><bdi>${m.name ?? m.sender}</bdi>, ${clock(new Date(m.time))}</small></li>`)}</ul>
      <p><a href=${"#/channels/" + channel}>All of channel ${channel}</a></p>` : null}
  </section>`
}
