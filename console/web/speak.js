// Where an operator says something on a channel.
import { Fault, Icon, announce, html, useAct, useLayoutEffect, useRef, useState } from "./ui.js"
import { say } from "./live.js"
import { fromHex, read } from "./message.js"
import { mine, nameOf } from "./members.js"
import { many } from "./words.js"

// What was said before, the last first. It is forgotten with the tab.
const slot = "watchtower.said"
const mostSaid = 20, mostChars = 100000
const before = () => {
  try { return JSON.parse(sessionStorage.getItem(slot)) ?? [] } catch { return [] }
}
function remember(text) {
  const all = [text, ...before().filter(t => t !== text)].slice(0, mostSaid)
  while (all.length && all.join("").length > mostChars) all.pop()
  sessionStorage.setItem(slot, JSON.stringify(all))
}

const waits = [["", "May wait"], ["10", "Waits 10 s at most"], ["60", "Waits 1 min at most"], ["600", "Waits 10 min at most"]]

export function Speak({ channel, messages, members, to, setTo }) {
  const [text, setText] = useState(""), [as, setAs] = useState("text"), [ttl, setTTL] = useState("")
  const [back, setBack] = useState(-1), [told, tell] = useState("")
  const [busy, run, problem] = useAct(), field = useRef()
  const what = parse(text, as)
  useLayoutEffect(() => {
    field.current.style.height = "auto"
    field.current.style.height = Math.min(field.current.scrollHeight + 2, 160) + "px"
  }, [text])
  const change = (next, at = -1) => {
    setText(next)
    setBack(at)
    tell("")
  }
  const submit = async e => {
    e.preventDefault()
    if (busy || !text) return
    if (what.problem) {
      tell("")
      announce(what.problem)
      return
    }
    const said = await run(async () => {
      const answer = await say({ channel, ...what.content, receivers: to.length ? to.map(m => m.id) : undefined, ttl: ttl ? Number(ttl) : undefined })
      mine.set(answer.sender)
      if (to.length) messages.sent({ id: answer.id, sender: answer.sender, to: toWhom(to), ...what.shown })
      const words = outcome(answer, to)
      tell(words)
      announce(words)
    })
    if (said) {
      remember(text)
      setText("")
      setBack(-1)
    }
    field.current?.focus()
  }
  const key = e => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) return submit(e)
    const next = back + { ArrowUp: 1, ArrowDown: -1 }[e.key]
    if (!(next >= -1) || text && back < 0) return
    const all = before()
    if (next >= all.length) return
    e.preventDefault()
    change(all[next] ?? "", next)
  }
  return html`<form class="speak" onSubmit=${submit}>
    <${Fault} of=${problem} />
    <div class="line"><label class="unseen" for="say">Say something</label>
      <textarea id="say" ref=${field} rows="1" value=${text} placeholder=${to.length ? `To ${toWhom(to)}` : "To everybody here"} spellcheck="false" autocapitalize="off" autocomplete="off" aria-invalid=${what.problem ? "true" : undefined} aria-describedby="say-what" onInput=${e => change(e.target.value)} onKeyDown=${key}></textarea>
      <button type="submit" class="main" disabled=${busy || !text || Boolean(what.problem)}><${Icon} name="send" />${to.length ? "Send" : "Broadcast"}</button></div>
    <div class="options">
      <${Receivers} members=${members} to=${to} setTo=${setTo} />
      <select aria-label="What it is" value=${as} onChange=${e => { setAs(e.target.value); tell("") }}><option value="text">Text or JSON</option><option value="hex">Bytes in hex</option></select>
      <select aria-label="How long it may wait for who is away" value=${ttl} onChange=${e => setTTL(e.target.value)}>${waits.map(([value, label]) => html`<option value=${value}>${label}</option>`)}</select>
      <span id="say-what" class=${what.problem ? "hint degree-3" : "hint"}>${told || what.problem || what.words}</span>
    </div>
  </form>`
}

// parse makes a message of what was typed: {content, words}, or {problem} in words.
function parse(text, as) {
  try {
    if (as === "hex") return parseHex(text)
  } catch (e) {
    return { problem: e.message }
  }
  try {
    if (/^\s*[[{]/.test(text)) return { content: { message: read(text) }, shown: { kind: "json", body: text }, words: "JSON" }
  } catch {
    return { ...asText(text), words: "text: it is no valid JSON" }
  }
  return asText(text)
}

const asText = text => ({ content: { message: text }, shown: { kind: "text", body: text }, words: text ? "text" : "" })

function parseHex(text) {
  const bytes = fromHex(text)
  let binary = ""
  for (const b of bytes) binary += String.fromCharCode(b)
  const base64 = btoa(binary)
  return { content: { base64 }, shown: { kind: "bytes", body: base64 }, words: text ? many(bytes.length, "byte") : "" }
}

const toWhom = to => to.length === 1 ? nameOf(to[0]) : `${to.length} members`

// outcome tells how it went.
function outcome({ offered, dropped }, to) {
  const sum = counts => Object.values(counts).reduce((a, b) => a + b, 0)
  const by = counts => Object.entries(counts).filter(([, n]) => n).map(([via, n]) => `${n} by ${via.toUpperCase()}`).join(", ")
  const reached = sum(offered) - sum(dropped)
  const words = to.length ? `Sent to ${toWhom(to)}.` : "Broadcast."
  if (sum(dropped)) return `${words} It went out ${many(reached, "time")}, and was lost ${many(sum(dropped), "time")}: ${by(dropped)}.`
  return reached ? `${words} It went out: ${by(offered)}.` : `${words} Nobody is known to have got it yet.`
}

// Receivers chooses who gets it.
function Receivers({ members, to, setTo }) {
  const box = useRef()
  const listed = [...to.filter(m => !members.byID.has(m.id)), ...(members.items ?? []).filter(m => m.id !== mine.get())]
  const chosen = id => to.some(m => m.id === id)
  const toggle = m => setTo(chosen(m.id) ? to.filter(other => other.id !== m.id) : [...to, m])
  const close = e => {
    if (e.key !== "Escape" || !box.current.open) return
    e.stopPropagation()
    box.current.open = false
    box.current.querySelector("summary").focus()
  }
  return html`<details class="to" ref=${box} onKeyDown=${close}><summary>To ${to.length ? html`<bdi>${toWhom(to)}</bdi>` : "everybody"}</summary>
    <fieldset><legend class="unseen">Receivers</legend>
      <label class="check"><input type="checkbox" checked=${!to.length} onChange=${() => setTo([])} />Everybody</label>
      ${listed.map(m => html`<label class="check" key=${m.id}><input type="checkbox" checked=${chosen(m.id)} onChange=${() => toggle(m)} /><bdi>${nameOf(m)}</bdi></label>`)}
      ${members.more ? html`<button type="button" onClick=${members.more}>More</button>` : null}
    </fieldset></details>`
}
