// The messages of one channel that the page holds: bounded, filtered, and still while
// somebody reads.
import { link, listen } from "./live.js"
import { haystack } from "./message.js"

export const most = 5000 // messages that are held
const mostBytes = 8 << 20
const flood = 30 // messages a second that nobody can read any more: they are drawn less often
const drawEvery = 250 // ms, in a flood
const step = 100, steps = 128 // ms of a count, and how many counts

// Who saves data takes what the gateway gives everybody; else it may be a lot.
const mostPerSecond = navigator.connection?.saveData ? 200 : 5000

// Queue is a list that loses its oldest.
class Queue {
  list = []
  gone = 0 // of the beginning of list
  get length() { return this.list.length - this.gone }
  at(i) { return this.list[this.gone + i] }
  push(one) { this.list.push(one) }
  shift() {
    const one = this.list[this.gone]
    this.list[this.gone++] = undefined
    if (this.gone > 1024) this.list = this.all(), this.gone = 0
    return one
  }
  all() { return this.list.slice(this.gone) }
}

// Rate counts messages by the gateway's time, so that a late page counts right.
class Rate {
  times = new Float64Array(steps).fill(-1)
  counts = new Float64Array(steps)
  first = 0 // the gateway's time
  newest = 0
  at = 0 // ours, when we got it
  add(time, n) {
    const t = Math.floor(time / step), i = t % steps
    if (this.times[i] !== t) this.times[i] = t, this.counts[i] = 0
    this.counts[i] += n
    this.first ||= time
    this.newest = Math.max(this.newest, time)
    this.at = performance.now()
  }
  over(ms) {
    const idle = performance.now() - this.at
    const time = this.newest + (idle < 500 ? 0 : idle), now = Math.floor(time / step)
    ms = Math.min(ms, Math.max(1000, Math.floor((time - this.first) / step) * step))
    let sum = 0
    for (let i = 0; i < steps; i++) if (this.times[i] < now && this.times[i] >= now - ms / step) sum += this.counts[i]
    return sum / ms * 1000
  }
  // A few messages need a longer time to be counted in.
  get() {
    const quick = this.over(3000)
    return quick > 10 ? quick : this.over(10000)
  }
}

// Messages is followed like a store. Its rows are what is shown: messages, and marks in
// between: {mark: "start" | "gap" | "skipped" | "older", n}.
export class Messages {
  rate = 0 // messages a second
  ready = false // what was said before is here
  problem = undefined
  total = 0 // messages that are held
  following = true // the end is shown
  paused = false
  #channel
  #end
  #followers = new Set()
  #seq = 0
  #all = new Queue()
  #shown = this.#all // with a filter: those that have its words
  #bytes = 0
  #older = 0 // how many were let go
  #still = null // what is shown does not change: {all, older}
  #stillShown = null
  #came = 0
  #mark = 0
  #wants = null
  #catching = new Set() // ids, until all that was said before is here
  #speed = new Rate()
  #drawn = 0
  #asked = false
  #frame
  #timer

  constructor(channel) { this.#channel = channel }
  get() { return this }
  follow(f) {
    this.#followers.add(f)
    return () => this.#followers.delete(f)
  }

  // open begins to listen.
  open(since) {
    this.#end = listen(this.#channel, { since, most: mostPerSecond }, (line, text) => this.#take(line, text))
    const unheard = link.follow(l => {
      if (l.state !== "lost" || !this.ready) return
      this.ready = false
      this.#catching = new Set()
      this.#changed()
    })
    const tick = setInterval(() => this.rate && this.#changed(), 1000)
    return () => {
      this.#end()
      unheard()
      clearInterval(tick)
      clearTimeout(this.#timer)
      cancelAnimationFrame(this.#frame)
    }
  }

  #take(line, text) {
    if (line.type === "listening") {
      this.ready = true
      this.#catching = null
    } else if (line.type === "gap") {
      this.#add({ mark: this.total ? "gap" : "start" }, 0)
    } else if (line.type === "skipped") {
      this.#skipped(line.n)
    } else if (line.type === "refused") {
      this.problem = { title: line.problem.title, message: line.problem.detail }
    } else if (line.id) {
      this.#message(line, text)
    }
    this.#changed()
  }

  #message(line, text) {
    if (this.#catching?.has(line.id)) return
    this.#catching?.add(line.id)
    const time = Date.parse(line.time)
    if (this.ready) this.#speed.add(time, 1)
    this.total++
    this.#add({ id: line.id, time, type: line.type, sender: line.sender, name: line.name, ...payload(line, text), bytes: text.length }, 1)
  }

  // sent adds what was said from here to some alone, which comes from nowhere else: {id, sender,
  // to, kind, body}. to names them.
  sent(one) {
    this.total++
    this.#add({ ...one, time: Date.now(), type: "send", bytes: one.body.length }, 1)
    this.#changed()
  }

  #skipped(n) {
    this.#speed.add(this.#speed.newest || Date.now(), n)
    const last = this.#all.at(this.#all.length - 1)
    this.#came += n
    if (last?.mark === "skipped" && !this.#still) last.n += n
    else this.#add({ mark: "skipped", n }, 0)
  }

  #add(one, came) {
    one.seq = ++this.#seq
    this.#all.push(one)
    this.#bytes += cost(one)
    if (!this.#wants || this.#wants(one)) {
      if (this.#shown !== this.#all) this.#shown.push(one)
      this.#came += came
    }
    while (this.#all.length > most || this.#bytes > mostBytes && this.#all.length > 1) this.#letGo()
  }

  #letGo() {
    if (!this.following) this.#keepStill()
    const one = this.#all.shift()
    this.#bytes -= cost(one)
    if (!one.mark) {
      this.#older++
      this.total--
    }
    if (this.#shown !== this.#all && this.#shown.at(0) === one) this.#shown.shift()
  }

  // What is shown.
  get older() { return this.#still ? this.#still.older : this.#older }
  get length() { return (this.#still ? this.#stillShown : this.#shown).length + (this.older ? 1 : 0) }
  at(i) {
    if (this.older && i-- === 0) return { seq: 0, mark: "older", n: this.older }
    return this.#still ? this.#stillShown[i] : this.#shown.at(i)
  }
  get fresh() { return this.#came - this.#mark }

  // filter shows only messages with all words; from:name is one that wants a sender.
  filter(words) {
    this.#wants = wanted(words)
    this.#shown = this.#all
    if (this.#wants) {
      this.#shown = new Queue()
      this.#shown.list = this.#all.all().filter(this.#wants)
    }
    if (this.#still) this.#stillShown = this.#wants ? this.#still.all.filter(this.#wants) : this.#still.all
    if (!this.paused) this.toEnd()
    this.#changed()
  }

  #keepStill() {
    if (this.#still) return
    this.#still = { all: this.#all.all(), older: this.#older }
    this.#stillShown = this.#wants ? this.#shown.all() : this.#still.all
  }

  // pause keeps what is shown as it is, and counts what comes.
  pause() {
    if (this.following) this.#mark = this.#came
    this.paused = true
    this.#keepStill()
    this.#changed()
  }

  // stop is called when somebody scrolls up, end when he is at the end again.
  stop() {
    if (!this.following) return
    this.following = false
    if (!this.paused) this.#mark = this.#came
    this.#changed()
  }
  end() {
    if (this.paused) this.following = true
    else if (!this.following) this.toEnd()
  }

  // toEnd shows the newest, and goes on.
  toEnd() {
    this.paused = false
    this.following = true
    this.#still = this.#stillShown = null
    this.#changed()
  }

  // What changed is drawn with the screen's next picture; in a flood four times a second.
  #changed() {
    if (this.#asked) return
    this.#asked = true
    const draw = () => {
      this.#asked = false
      this.#drawn = performance.now()
      this.rate = this.#speed.get()
      for (const f of [...this.#followers]) f()
    }
    const wait = this.rate > flood ? drawEvery - (performance.now() - this.#drawn) : 0
    this.#timer = setTimeout(() => { this.#frame = requestAnimationFrame(draw) }, Math.max(0, wait))
  }
}

// What a message takes, about.
const cost = one => 200 + (one.bytes ?? 0)

// payload is what was said: of JSON the text, which has all digits of its numbers. "message"
// is the line's last member, and quotes in a name are escaped.
function payload(line, text) {
  if (line.encoding === "base64") return { kind: "bytes", body: line.message }
  if (typeof line.message === "string") return { kind: "text", body: line.message }
  const begin = ',"message":'
  return { kind: "json", body: text.slice(text.indexOf(begin) + begin.length, -1) }
}

function wanted(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  if (!words.length) return null
  const from = words.filter(w => w.startsWith("from:")).map(w => w.slice(5)).filter(Boolean)
  const rest = words.filter(w => !w.startsWith("from:"))
  return one => {
    if (one.mark) return one.mark !== "skipped"
    const name = (one.name ?? "").toLowerCase()
    if (!from.every(f => name.includes(f) || String(one.sender) === f)) return false
    return !rest.length || includesAll(name + " " + haystack(one), rest)
  }
}
const includesAll = (text, words) => words.every(w => text.includes(w))
