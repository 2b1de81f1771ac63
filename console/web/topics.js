// The retained topics: a tree, level by level, and what one of them says.
import { Empty, Fault, Pending, html, useEffect, useEvery, useReducer, useRef, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { link } from "./live.js"
import { usualPage, mostPage } from "./pages.js"
import { Publish, Remove, Topic } from "./topic.js"
import { inLine } from "./message.js"
import { bytes, count, many } from "./words.js"

// A branch is what is known of the levels below a prefix: {levels, next, problem, busy}.
// Prefixes are empty, or end with a slash.
export function Topics({ of }) {
  const tree = useTree()
  const [doing, setDoing] = useState(null), close = () => setDoing(null)
  const [chosen, setChosen] = useState(of), detail = useRef()
  useEffect(() => setChosen(of), [of])
  // The address changes without a new screen: the focus stays in the tree.
  const choose = topic => {
    history.replaceState(null, "", "#/topics/" + encodeURIComponent(topic))
    setChosen(topic)
    setTimeout(() => detail.current?.scrollIntoView({ block: "nearest" }))
  }
  const [version, setVersion] = useState(0)
  const changed = topic => { tree.refresh(topic); setVersion(v => v + 1) }
  return html`<header class="head"><h1>Topics</h1>
      ${mayDo("speak") ? html`<button type="button" class="main" onClick=${() => setDoing({ act: "publish", topic: chosen })}>Publish</button>` : null}</header>
    <p class="lead">What the broker keeps: the last retained message of each topic.</p>
    <div class="halves">
      <section class="card" aria-label="Topics"><${Tree} tree=${tree} chosen=${chosen} onChoose=${choose} /></section>
      <section ref=${detail} class="card detail" aria-label="The chosen topic">${chosen ? html`<${Topic} key=${chosen} topic=${chosen} again=${version} onDo=${(act, more) => setDoing({ act, topic: chosen, ...more })} />`
        : html`<${Empty}>Choose a topic to see what it says.</${Empty}>`}</section>
    </div>
    ${doing?.act === "publish" ? html`<${Publish} topic=${doing.topic} value=${doing.value} onClose=${close} onDone=${topic => { close(); changed(topic); choose(topic) }} />` : null}
    ${doing?.act === "remove" ? html`<${Remove} topic=${doing.topic} below=${doing.below} onClose=${close} onDone=${changed} />` : null}`
}

const prefixes = topic => topic.split("/").map((_, i, all) => all.slice(0, i).join("/") + (i ? "/" : ""))

// useTree keeps the branches that are open, and asks for them again every 10 seconds.
function useTree() {
  const branches = useRef(new Map()), open = useRef(new Set([""])), box = useRef()
  const [, redraw] = useReducer(n => n + 1, 0)
  const alive = useRef(true)
  const put = (prefix, change) => { branches.current.set(prefix, { ...branches.current.get(prefix), ...change }); if (alive.current) redraw() }
  const ask = async (prefix, query, take) => {
    try {
      const answer = await call("GET", "topics", { query: { under: prefix, ...query } })
      put(prefix, { problem: undefined, busy: false, ...take(answer) })
    } catch (e) {
      const known = branches.current.get(prefix)?.levels
      put(prefix, e.status === 0 && known ? { busy: false } : { problem: e, busy: false })
    }
  }
  // load asks for a branch again, as far as it is shown. While the pointer or the keyboard is
  // in the tree no level comes or goes, unless that is wanted: then numbers alone are new.
  const load = (prefix, wanted) => {
    const known = branches.current.get(prefix)?.levels
    return ask(prefix, { limit: Math.min(mostPage, Math.max(usualPage, known?.length ?? 0)) }, answer => {
      if (!known || wanted || !box.current?.matches(":hover, :focus-within") && known.length <= mostPage) return { levels: answer.topics, next: answer.next }
      const fresh = new Map(answer.topics.map(l => [l.level, l]))
      return { levels: known.map(l => fresh.get(l.level) ?? l) }
    })
  }
  const again = wanted => Promise.all([...open.current].slice(0, 20).map(prefix => load(prefix, wanted)))
  const latest = useRef()
  latest.current = again
  useEvery(10000, () => again(false), [])
  useEffect(() => link.follow(l => l.state === "open" && latest.current(false)), [])
  useEffect(() => () => { alive.current = false }, [])
  return {
    box, branch: prefix => branches.current.get(prefix) ?? {}, isOpen: prefix => open.current.has(prefix),
    setOpen(prefix, on) {
      open.current[on ? "add" : "delete"](prefix)
      if (on) load(prefix, true)
      redraw()
    },
    more(prefix) {
      put(prefix, { busy: true })
      const { levels, next } = branches.current.get(prefix)
      return ask(prefix, { from: next, limit: usualPage }, answer => ({ levels: [...levels, ...answer.topics], next: answer.next }))
    },
    // refresh asks again for all that leads to a topic, and is below it.
    refresh: topic => {
      for (const prefix of open.current) if (prefixes(topic).includes(prefix) || prefix.startsWith(topic + "/")) load(prefix, true)
    },
  }
}

// visible lists the lines of the tree: levels, and what stands for levels that are not shown.
function visible(tree, prefix = "", depth = 1, lines = []) {
  const b = tree.branch(prefix)
  b.levels?.forEach((l, i) => {
    const topic = prefix + l.level, open = l.below > 0 && tree.isOpen(topic + "/")
    lines.push({ id: topic, topic, prefix, depth, level: l, open, at: i + 1, of: b.next === undefined ? b.levels.length : -1 })
    if (open) visible(tree, topic + "/", depth + 1, lines)
  })
  const note = (kind, more) => lines.push({ id: `${kind} of ${prefix}`, kind, prefix, depth, ...more })
  if (b.problem) note("fault", { problem: b.problem })
  else if (!b.levels) note("pending")
  else if (b.next !== undefined) note("more", { busy: b.busy })
  return lines
}

// Tree is a tree as WAI-ARIA has it: one stop of the Tab key, and arrows inside.
function Tree({ tree, chosen, onChoose }) {
  const lines = visible(tree), [at, setAt] = useState(""), typed = useRef({ text: "", time: 0 })
  const b = tree.branch("")
  if (b.problem && !b.levels) return html`<${Fault} of=${b.problem} />`
  if (!b.levels) return html`<${Pending} />`
  if (!b.levels.length) return html`<${Empty}>Nothing is retained. A message that is published with the retain flag is here.</${Empty}>`
  const current = Math.max(0, lines.findIndex(l => l.id === (at || chosen)))
  const go = i => {
    const l = lines[Math.max(0, Math.min(lines.length - 1, i))]
    setAt(l.id)
    tree.box.current.querySelectorAll("[role=treeitem]")[lines.indexOf(l)]?.focus()
  }
  const act = l => {
    setAt(l.id)
    if (l.kind === "more") tree.more(l.prefix)
    if (l.kind) return
    if (l.level.below) tree.setOpen(l.topic + "/", !l.open || l.topic !== chosen && l.level.retained !== undefined)
    if (l.topic) onChoose(l.topic)
  }
  const key = e => {
    const l = lines[current]
    const moves = { ArrowDown: current + 1, ArrowUp: current - 1, Home: 0, End: lines.length - 1 }
    if (e.ctrlKey || e.altKey || e.metaKey) return
    if (e.key in moves) go(moves[e.key])
    else if (e.key === "Enter" || e.key === " ") act(l)
    else if (e.key === "ArrowRight" && !l.kind && l.level.below) { l.open ? go(current + 1) : tree.setOpen(l.topic + "/", true) }
    else if (e.key === "ArrowLeft" && l.open) tree.setOpen(l.topic + "/", false)
    else if (e.key === "ArrowLeft" && l.prefix) go(lines.findIndex(p => p.topic + "/" === l.prefix))
    else if (e.key.length === 1) find(e.key)
    else return
    e.preventDefault()
  }
  // find goes to the next level that begins with what is typed.
  const find = letter => {
    const now = Date.now()
    typed.current = { text: (now - typed.current.time < 700 ? typed.current.text : "") + letter.toLowerCase(), time: now }
    const text = typed.current.text, from = text.length > 1 ? current : current + 1
    const found = [...lines.slice(from), ...lines.slice(0, from)].find(l => l.level?.level.toLowerCase().startsWith(text))
    if (found) go(lines.indexOf(found))
  }
  return html`<ul ref=${tree.box} class="tree" role="tree" aria-label="Retained topics" onKeyDown=${key}>
    ${lines.map((l, i) => html`<${Line} key=${l.id} l=${l} chosen=${!l.kind && Boolean(chosen) && l.topic === chosen} stop=${i === current} onAct=${() => act(l)} onToggle=${() => { setAt(l.id); tree.setOpen(l.topic + "/", !l.open) }} onFocus=${() => setAt(l.id)} />`)}
  </ul>`
}

function Line({ l, chosen, stop, onAct, onToggle, onFocus }) {
  const indent = { paddingLeft: `${Math.min(l.depth - 1, 12) * 1.1 + 0.3}rem` }
  const common = { role: "treeitem", "aria-level": l.depth, tabindex: stop ? 0 : -1, onFocus, style: indent }
  if (l.kind === "fault") return html`<li ...${common}>${l.problem.message}</li>`
  if (l.kind === "pending") return html`<li ...${common} class="hint">Loading</li>`
  if (l.kind === "more") return html`<li ...${common} class="more" aria-disabled=${l.busy ? "true" : undefined} onClick=${onAct}>More of this level</li>`
  const { level, below, retained } = l.level
  return html`<li ...${common} class=${chosen ? "chosen" : ""} aria-selected=${String(chosen)} aria-expanded=${below ? String(l.open) : undefined} aria-setsize=${l.of} aria-posinset=${l.at} onClick=${onAct}>
    <i class=${below ? l.open ? "twig open" : "twig" : "twig leaf"} aria-hidden="true" onClick=${e => { if (below) { e.stopPropagation(); onToggle() } }}></i>
    <bdi class="level">${level ? inLine(level) : html`<em>(empty)</em>`}</bdi>
    ${retained ? html`<bdi class="says">${inLine(retained.text)}</bdi>` : null}
    ${below ? html`<span class="below" title=${many(below, "topic") + " below"}>${count(below)}<span class="unseen"> below</span></span>` : html`<span class="below">${bytes(retained?.bytes ?? 0)}</span>`}
  </li>`
}
