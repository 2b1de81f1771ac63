// The devices: who is missing, the list of all senders, and one of them.
import { Lamp, Via, html, store, use, useState } from "./ui.js"
import { mayDo } from "./session.js"
import { Paged, usePages } from "./pages.js"
import { Device, NewDevice, nameOf, pathOf } from "./device.js"
import { Missing } from "./missing.js"
import { ago, many } from "./words.js"

// What is looked for stays while one device is looked at.
const asked = store({ find: "", via: "", state: "" })
const protocols = ["udp", "tcp", "http", "mqtt", "irc", "callback"]

export const Devices = ({ of }) => of ? html`<${Device} key=${of} of=${of} />` : html`<${All} />`

function All() {
  const query = use(asked), [making, setMaking] = useState(false)
  const list = usePages("senders", { field: "senders", key: s => s.id, query })
  const ask = change => asked.set({ ...query, ...change })
  const filtered = query.find || query.via || query.state
  return html`<header class="head"><h1>Devices</h1>
      ${mayDo("manage") ? html`<button type="button" class="main" onClick=${() => setMaking(true)}>New device</button>` : null}</header>
    <${Missing} onShow=${() => ask({ find: "", via: "", state: "away" })} />
    <section class="card" aria-labelledby="all"><h2 id="all">All devices and programs</h2>
      <div class="tools" role="search">
        <input type="search" aria-label="Find a name or an id" placeholder="Find a name or an id" value=${query.find} onInput=${e => ask({ find: e.target.value.trim() })} />
        <select aria-label="State" value=${query.state} onChange=${e => ask({ state: e.target.value })}>
          <option value="">here and away</option><option value="here">here</option><option value="away">away</option></select>
        <select aria-label="Protocol" value=${query.via} onChange=${e => ask({ via: e.target.value })}>
          <option value="">every protocol</option>${protocols.map(p => html`<option key=${p} value=${p}>${p === "callback" ? "Callback" : p.toUpperCase()}</option>`)}</select>
      </div>
      <${Paged} of=${list} empty=${filtered ? html`None is like that. <button type="button" onClick=${() => ask({ find: "", via: "", state: "" })}>Show all</button>`
        : html`Nobody has registered yet. <a href="#/start">Get started</a> shows how, by a command to copy.`}>
        ${items => html`<${Table} items=${items} />`}
      </${Paged}>
    </section>
    ${making ? html`<${NewDevice} onClose=${() => setMaking(false)} />` : null}`
}

function Table({ items }) {
  return html`<table class="rows"><thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col">By</th><th scope="col">Channels</th><th scope="col">Notes</th></tr></thead>
    <tbody>${items.map(s => html`<tr key=${s.id}>
      <th scope="row"><a href=${pathOf(s.id)}>${nameOf(s)}</a><small>id ${s.id}</small></th>
      <td><${State} of=${s} /></td>
      <td>${s.via.length ? s.via.map(p => html`<${Via} key=${p} name=${p} /> `) : html`<span class="hint">nothing</span>`}</td>
      <td data-label="on">${many(s.channels, "channel")}</td>
      <td>${s.protected ? html`<span class="tag">protected</span> ` : null}${s.held ? html`<span class="tag">reported when away</span>` : null}</td>
    </tr>`)}</tbody></table>`
}

// State says in words whether a sender is here.
export const State = ({ of: s }) => s.state === "here" ? html`<${Lamp} state=${s.late ? "watch" : "good"}>${s.late ? "here, but silent" : "here"}${s.heard ? `, last heard ${ago(s.heard)}` : ""}</${Lamp}>`
  : html`<${Lamp} state="idle">${s.seen ? `away, last seen ${ago(s.seen)}` : "away, never seen"}</${Lamp}>`
