// What the gateway announces to Home Assistant.
import { Empty, Fault, Lamp, Pending, html, useState } from "./ui.js"
import { useAnswer } from "./pages.js"
import { nameOf, pathOf } from "./device.js"
import { ago, count, many } from "./words.js"

const shown = 50 // devices at once

export function HomeAssistant() {
  const [h, problem] = useAnswer("homeassistant")
  const [most, setMost] = useState(shown)
  if (!h) return html`<h1>Home Assistant</h1>${problem ? html`<${Fault} of=${problem} />` : html`<${Pending} />`}`
  return html`<h1>Home Assistant</h1><${Fault} of=${problem} />
    <section class="card" aria-label="State"><dl class="pairs">
      <div><dt>Announcing</dt><dd>${h.enabled ? html`<${Lamp} state="good">on</${Lamp}>` : html`<${Lamp} state="idle">off</${Lamp}> <small>Set <code>homeassistant.enabled: true</code> in the configuration file, and <code>homeassistant: true</code> at the channels that Home Assistant may see. Then restart the gateway.</small>`}</dd></div>
      <div><dt>Discovery prefix</dt><dd><code>${h.prefix}</code></dd></div>
      <div><dt>Home Assistant</dt><dd>${h.birth ? html`<${Lamp} state="good">last said online ${ago(h.birth)}</${Lamp}>` : html`<${Lamp} state="idle">not heard since the gateway's start</${Lamp}> <small>In Home Assistant: Settings, Devices and services, Add integration, MQTT. The broker is this gateway.</small>`}</dd></div>
    </dl></section>
    ${h.faults.length ? html`<section class="card" aria-labelledby="faults"><h2 id="faults"><${Lamp} state="bad">${many(h.faults.length, "description has a fault", "descriptions have a fault")}</${Lamp}></h2>
      <ul class="plain lines">${h.faults.map((f, i) => html`<li key=${i}><a href=${pathOf(f.sender)}>${nameOf(f)}</a> on <a href=${"#/channels/" + f.channel}>channel ${f.channel}</a>: ${f.fault}</li>`)}</ul></section>` : null}
    ${h.devices.length ? h.devices.slice(0, most).map(d => html`<${Device} key=${d.sender ?? "gateway"} d=${d} />`)
    : h.enabled ? html`<section class="card"><${Empty}>No device is announced. Give a channel <code>homeassistant: true</code> in the configuration file, or let a device describe itself on such a channel.</${Empty}></section>` : null}
    ${h.devices.length > most ? html`<p class="buttons"><button type="button" onClick=${() => setMost(most + shown)}>More</button><span class="hint">${count(most)} of ${count(h.devices.length)}</span></p>` : null}`
}

function Device({ d }) {
  return html`<section class="card" aria-label=${d.device}><header><h2>${d.device}</h2>${d.sender ? html`<a href=${pathOf(d.sender)}>${nameOf(d)}</a>` : null}</header>
    <table class="rows"><thead><tr><th scope="col">Entity</th><th scope="col">Kind</th><th scope="col">Value template</th><th scope="col">State, from which the template takes the value</th></tr></thead>
      <tbody>${d.entities.map((e, i) => html`<tr key=${i}><th scope="row">${e.name}</th><td>${e.component}</td><td>${e.template ? html`<code>${e.template}</code>` : html`<span class="hint">none</span>`}</td><td><code>${e.state ?? ""}</code></td></tr>`)}</tbody></table>
  </section>`
}
