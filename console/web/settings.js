// The settings, and where each is from; the browsers that are signed in; reading the file
// again; a backup.
import { Confirm, Empty, Fault, Pending, announce, html, useAct, useState } from "./ui.js"
import { call } from "./session.js"
import { useAnswer } from "./pages.js"
import { ago, bytes, count, many } from "./words.js"

export function Settings() {
  const [find, setFind] = useState("")
  const [answer, problem, reload] = useAnswer("settings", { every: 60000 })
  return html`<h1>Settings</h1>
    <p class="lead">They are in ${answer?.file ? html`the file <code>${answer.file}</code>` : "a configuration file"}, in environment variables and flags of the gateway. This page shows them, and no secret.</p>
    <div class="pair"><${Reload} onDone=${reload} /><${Backup} /></div>
    <section class="card" aria-labelledby="all"><h2 id="all">All settings</h2>
      <div class="tools" role="search"><input type="search" aria-label="Find a setting" placeholder="Find a setting, a value, or a word of its help" value=${find} onInput=${e => setFind(e.target.value)} /></div>
      <${Fault} of=${problem} />
      ${answer ? html`<${Groups} all=${answer.settings} find=${find.trim().toLowerCase()} />` : problem ? null : html`<${Pending} lines=12 />`}
    </section>
    <${Sessions} />`
}

function Groups({ all, find }) {
  const found = all.filter(s => !find || [s.name, s.help, shownValue(s), source(s)].some(text => String(text ?? "").toLowerCase().includes(find)))
  if (!found.length) return html`<${Empty}>No setting is like that.</${Empty}>`
  const groups = Map.groupBy(found, s => s.name.includes(".") ? s.name.slice(0, s.name.indexOf(".")) : "general")
  const first = [...groups].sort(([a], [b]) => (b === "general") - (a === "general"))
  return first.map(([name, list]) => {
    const set = list.filter(s => s.from !== "default").length
    return html`<details key=${name} class="settings" open><summary><h3>${name}</h3> <span class="hint">${many(list.length, "setting")}${set ? `, ${count(set)} set` : ""}</span></summary>
      <table class="rows"><thead><tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr></thead>
        <tbody>${list.map(s => html`<tr key=${s.name}><th scope="row"><code>${s.name}</code><small>${s.help}</small></th>
          <td><code>${shownValue(s)}</code><small>${s.needs_restart ? "a change needs a restart" : "Reload applies a change"}</small></td>
          <td>${source(s)}${s.from !== "default" && !s.secret && s.default !== undefined && s.default !== "" ? html`<small>default: <code>${text(s.default)}</code></small>` : null}</td></tr>`)}</tbody></table>
    </details>`
  })
}

const text = v => typeof v === "string" ? v : JSON.stringify(v)
const shownValue = s => s.secret ? s.set ? "set" : "not set" : text(s.value) || "empty"
const source = s => s.from === "file" ? `file${s.line ? `, line ${s.line}` : ""}` : s.from === "environment" ? `environment, WATCHTOWER_${s.name.toUpperCase().replaceAll(".", "_")}` : s.from

function Reload({ onDone }) {
  const [busy, run, problem] = useAct(), [done, setDone] = useState(null)
  const act = async () => {
    setDone(null)
    if (await run(async () => setDone(await call("POST", "reload", { body: {} })))) onDone()
  }
  const names = list => html`<ul>${list.map(name => html`<li key=${name}><code>${name}</code></li>`)}</ul>`
  return html`<section class="card" aria-labelledby="reload"><h2 id="reload">Read the configuration again</h2>
    <p class="hint">Users, names of channels, keys of TLS and some more are taken over at once. If anything is wrong, nothing changes.</p>
    <p class="buttons"><button type="button" disabled=${busy} onClick=${act}>Reload</button></p>
    ${problem?.faults?.length ? html`<div class="fault" role="alert"><strong>Nothing has changed.</strong><ul>${problem.faults.map((f, i) => html`<li key=${i}>${f}</li>`)}</ul></div>` : html`<${Fault} of=${problem} />`}
    ${done ? html`<div role="status">${done.reloaded?.length ? html`<p>Taken over:</p>${names(done.reloaded)}` : html`<p>Read. ${done.needs_restart?.length ? "Nothing could be taken over at once." : "Nothing has changed."}</p>`}
      ${done.needs_restart?.length ? html`<p class="notice">These wait for a restart of the gateway:</p>${names(done.needs_restart)}` : null}</div>` : null}
  </section>`
}

const longestBackup = 3600000 // ms

function Backup() {
  const [busy, run, problem] = useAct(), [got, setGot] = useState(null)
  // The call needs the session's token, which a link does not send.
  const act = () => run(async () => {
    setGot({ so: 0 })
    const answer = await call("GET", "backup", { whole: true, limit: longestBackup })
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))?.[1] ?? "watchtower-backup.tar"
    const parts = [], of = Number(answer.headers.get("Content-Length"))
    let so = 0
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read()
      if (done) break
      parts.push(value)
      so += value.length
      setGot({ so, of })
    }
    const link = document.createElement("a")
    link.href = URL.createObjectURL(new Blob(parts, { type: "application/x-tar" }))
    link.download = name
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 60000)
    setGot({ so, name })
    announce("The backup is downloaded.")
  }).then(ok => ok || setGot(null))
  return html`<section class="card" aria-labelledby="backup"><h2 id="backup">Backup</h2>
    <p class="hint">All that the gateway keeps on disk, in one file: keys, senders, sessions, retained messages. Keep it as a password. <code>watchtower restore</code> puts it back.</p>
    <p class="buttons"><button type="button" disabled=${busy} onClick=${act}>Download a backup</button></p>
    <${Fault} of=${problem} />
    ${got ? html`<p role="status">${got.name ? html`<code>${got.name}</code>, ${bytes(got.so)}.` : got.of ? `${bytes(got.so)} of ${bytes(got.of)}` : "The gateway is making it."}</p>` : null}
  </section>`
}

function Sessions() {
  const [answer, problem, reload] = useAnswer("sessions")
  const [ending, setEnding] = useState(null)
  return html`<section class="card" aria-labelledby="sessions"><h2 id="sessions">Signed in</h2><${Fault} of=${problem} />
    ${!answer ? problem ? null : html`<${Pending} lines=2 />` : answer.sessions.length ? html`<table class="rows"><thead><tr><th scope="col">Who</th><th scope="col">Browser</th><th scope="col">Last used</th><th scope="col"><span class="unseen">What can be done</span></th></tr></thead>
      <tbody>${answer.sessions.map(s => html`<tr key=${s.id}><th scope="row">${s.name}<small>${s.role}${s.stay ? ", stays for 30 days" : ""}${s.own ? ", this browser" : ""}</small></th><td class="long">${s.label || html`<span class="hint">not known</span>`}</td><td>${ago(s.seen)}</td>
        <td class="acts"><button type="button" class="danger" aria-label="End the session of ${s.name}, ${s.label ?? ""}" onClick=${() => setEnding(s)}>End</button></td></tr>`)}</tbody></table>`
    : html`<${Empty}>Nobody is signed in.</${Empty}>`}
    ${ending ? html`<${Confirm} title="End this session?" button="End it" act=${() => call("DELETE", `sessions/${ending.id}`)} onClose=${() => { setEnding(null); reload() }}>
      <p>${ending.name}, last used ${ago(ending.seen)}: ${ending.label || "an unknown browser"}. It has to sign in again.${ending.own ? " It is this browser: so do you." : ""}</p></${Confirm}>` : null}
  </section>`
}
