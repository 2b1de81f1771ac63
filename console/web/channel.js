// One channel: what is said there, by whom, and a place to say something.
import { Dialog, Icon, Lamp, html, use, useEffect, useMemo, useState } from "./ui.js"
import { mayDo } from "./session.js"
import { link } from "./live.js"
import { channelName, gateway } from "./feed.js"
import { Messages } from "./messages.js"
import { List, useMedia } from "./list.js"
import { Members, mine, nameOf, useMembers } from "./members.js"
import { Views, octets, views, visible } from "./message.js"
import { Speak } from "./speak.js"
import { bytes, many, rate, toMillisecond } from "./words.js"

const highest = 2 ** 32 - 1

export function Channel({ of }) {
  const channel = /^[1-9]\d*$/.test(of) && Number(of) <= highest ? Number(of) : 0
  if (channel) return html`<${One} channel=${channel} />`
  return html`<div class="none"><h1>There is no such channel</h1><p>Channels are whole numbers from 1 to ${highest}. <a href="#/channels">To the channels</a></p></div>`
}

const begins = [["all", "All that is kept"], ["10m", "Last 10 min"], ["", "From now on"]]
const widest = "(min-width: 62rem)"

function One({ channel }) {
  const [since, setSince] = useState("all"), [words, setWords] = useState(""), [view, setView] = useState("best")
  const [chosen, setChosen] = useState(null), [sheet, setSheet] = useState("") // on a phone: what covers the list
  const [to, setTo] = useState([])
  const wide = useMedia(widest), members = useMembers(channel)
  const messages = useMemo(() => new Messages(channel), [channel, since])
  useEffect(() => messages.open(since), [messages])
  useEffect(() => messages.filter(words), [messages, words])

  const choose = (one, open) => {
    setChosen(one)
    setSheet(one && open ? "message" : "")
  }
  const only = m => {
    setWords("from:" + (m.name && !/\s/.test(m.name) ? m.name : m.id))
    setSheet("")
  }
  const answer = one => {
    setTo([members.byID.get(one.sender) ?? { id: one.sender, name: one.name }])
    setChosen(null)
    setSheet("")
    requestAnimationFrame(() => document.getElementById("say")?.focus())
  }
  const begin = value => {
    setChosen(null)
    setSince(value)
  }
  const details = chosen ? html`<${Details} key=${chosen.seq} of=${chosen} view=${view} members=${members} answer=${answer} close=${wide && (() => choose(null))} />` : null
  const list = html`<${Members} channel=${channel} members=${members} only=${only} />`
  const pick = (label, value, set, all) => html`<select aria-label=${label} value=${value} onChange=${e => set(e.target.value)}>${all.map(([v, text]) => html`<option value=${v}>${text}</option>`)}</select>`
  return html`<div class="channel">
    <div class="talk">
      <${Head} channel=${channel} messages=${messages} members=${wide ? null : members} show=${() => setSheet("members")} />
      <div class="tools">
        <input type="search" placeholder="Filter: words, from:name" aria-label="Show only messages with these words. from: before a name shows only that sender." value=${words} onInput=${e => setWords(e.target.value)} />
        ${pick("Show messages as", view, setView, views)}${pick("Begin with", since, begin, begins)}
        <${Pause} messages=${messages} />
      </div>
      <${List} messages=${messages} members=${members.byID} chosen=${chosen} choose=${choose} view=${view} words=${words} wide=${wide} />
      ${mayDo("speak") ? html`<${Speak} channel=${channel} messages=${messages} members=${members} to=${to} setTo=${setTo} />` : null}
    </div>
    ${wide ? html`<aside class="beside" aria-label=${details ? "The chosen message" : "Members"}>${details ?? list}</aside>` : null}
    ${!wide && sheet === "members" ? html`<${Dialog} title=${"Channel " + channel} onClose=${() => setSheet("")}>${list}</${Dialog}>` : null}
    ${!wide && sheet === "message" && details ? html`<${Dialog} title="Message" onClose=${() => setSheet("")}>${details}</${Dialog}>` : null}
  </div>`
}

function Head({ channel, messages, members, show }) {
  use(gateway)
  const name = channelName(channel)
  return html`<header class="bar"><a class="button quiet" href="#/channels" aria-label="All channels"><${Icon} name="back" /></a>
    <h1>${channel}${name ? html` <bdi>${visible(name)}</bdi>` : null}</h1><${State} of=${messages} />
    ${members ? html`<button type="button" class="quiet" onClick=${show}>${many(members.answer?.count ?? 0, "member")}</button>` : null}</header>`
}

function State({ of }) {
  const m = use(of), l = use(link)
  if (m.paused) return html`<p class="state"><${Lamp} state="watch">Paused${m.fresh ? `, ${many(m.fresh, "new message")}` : ""}</${Lamp}></p>`
  if (l.state === "lost") return html`<p class="state"><${Lamp} state="bad">Connection lost</${Lamp}></p>`
  if (!m.ready) return html`<p class="state"><${Lamp} state="idle">Connecting</${Lamp}></p>`
  return html`<p class="state"><${Lamp} state="good"><span>Live${m.rate ? html` · <span class="rate">${rate(m.rate)}</span>/s` : ""}</span></${Lamp}></p>`
}

function Pause({ messages }) {
  const { paused } = use(messages)
  return html`<button type="button" class="pause" onClick=${() => paused ? messages.toEnd() : messages.pause()}><${Icon} name=${paused ? "play" : "pause"} />${paused ? "Go on" : "Pause"}</button>`
}

const kinds = { text: "text", json: "JSON", bytes: "bytes" }

function Details({ of, view, members, answer, close }) {
  const own = use(mine), member = members.byID.get(of.sender), size = useMemo(() => octets(of).length, [of])
  const time = new Date(of.time)
  const row = (name, value) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`
  return html`<section class="details">
    <header><h2><bdi>${of.sender === own ? "You" : of.name ? visible(of.name) : `Sender ${of.sender}`}</bdi></h2>${close ? html`<button type="button" class="quiet" aria-label="Close the message" onClick=${close}><${Icon} name="close" /></button>` : null}</header>
    <${Views} of=${of} view=${view}>${of.sender !== own && mayDo("speak") && (member || !members.byID.known) ? html`<button type="button" onClick=${() => answer(of)}><${Icon} name="send" />Answer</button>` : null}</${Views}>
    <dl class="pairs">
      ${row("Sender", html`${of.sender}${of.name ? html`, <bdi>${nameOf({ name: of.name })}</bdi>` : null}`)}
      ${row("On the channel", member ? member.via.map(w => w.protocol.toUpperCase()).join(", ") : members.byID.known ? "no" : "not known")}
      ${row("When", `${time.toLocaleDateString()} ${toMillisecond(time)}`)}
      ${row("To", of.to ?? (of.type === "send" ? "you" : "everybody"))}
      ${row("Size", `${bytes(size)}${of.kind === "bytes" ? "" : ", " + kinds[of.kind]}`)}
      ${row("Id", html`<code>${of.id}</code>`)}
    </dl>
  </section>`
}
