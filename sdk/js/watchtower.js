// Watchtower for pages, and for Node 18 or newer: it needs fetch, and uses WebSocket. The
// types are in watchtower.d.ts, examples in docs/sdk.md of the project.

const patience = 30_000 // ms that a call waits for its answer
const opening = 10_000 // ms that a WebSocket may take to open
const longest = 30 // s between two attempts

const fault = (type, detail, more) => Object.assign(new Error(detail), { name: "WatchtowerError", status: 0, type, detail, ...more })
const closed = () => fault("closed", "this client was closed")

// forGood reports whether another attempt cannot help: the gateway said no, or there is a
// mistake in a program.
const forGood = e => e.name != "WatchtowerError" || e.type == "left" || e.type.startsWith("urn:") && e.status < 500 && ![408, 429].includes(e.status)

class Watchtower {
  onstate = null
  #token
  #joins = new Set
  #calls = new Set
  #closed = false

  static async connect(url, { key, token, name } = {}) {
    if (/[^!-~]/.test(token ?? "")) throw fault("token", "the token has a character that no token has: copy what watchtower token printed, all of it")
    const w = new Watchtower, { origin, pathname } = new URL(url, globalThis.document?.baseURI)
    w.url = origin.replace(/^ws/, "http") + pathname.replace(/\/+$/, "")
    w.#token = token
    try {
      const me = token ? await w.#ask("/me") : await w.#ask("/register", { secret_key: key, name })
      w.id = me.id
      w.name = token ? me.name : name
      w.#token ??= me.token
      return w
    } catch (e) {
      // A page of another origin cannot read a refusal. But a request whose answer nobody
      // reads goes through, which tells that the gateway is there.
      if (e.type != "network" || !globalThis.location || location.origin == origin) throw e
      await fetch(w.url + "/healthz", { mode: "no-cors" }).catch(() => { throw e })
      throw fault("origin", `${w.url} answers, but not to pages of ${location.origin}: list that in http.cors_origins`)
    }
  }

  async join(channels, onMessage, { since, echo = true, onGap, onConfirm } = {}) {
    if (typeof onMessage != "function") throw new TypeError("onMessage is not a function")
    if (this.#closed) throw closed()
    return new Promise((joined, refused) => {
      const j = { channels: [...channels], onMessage, since, echo, onGap, onConfirm, joined, refused }
      this.#joins.add(j)
      this.#follow(j)
    })
  }

  async broadcast(channels, message, { ttl } = {}) {
    return this.#say("/broadcast", { sender: this.id, channels, ttl }, message)
  }

  async send(channels, receivers, message, { ttl } = {}) {
    return this.#say("/send", { sender: this.id, channels, receivers, ttl, report: true }, message)
  }

  async members(channel) {
    return this.#ask(`/channels/${channel}/members?sender=${this.id}`)
  }

  async leave(channels) {
    const ended = []
    for (const j of this.#joins) {
      const stay = j.channels.filter(c => !channels.includes(c))
      if (stay.length) j.channels = stay
      else ended.push(j), j.over = true // it hears nothing any more
    }
    try {
      await this.#ask("/channels/leave", { sender: this.id, channels })
    } finally {
      for (const j of ended) this.#end(j, fault("left", "the channels were left"))
    }
  }

  close() {
    this.#closed = true
    for (const call of this.#calls) call.abort()
    for (const j of this.#joins) this.#end(j, closed())
  }

  // A message of bytes is the body itself; everything else is in the query then.
  #say(path, about, message) {
    if (!(message instanceof ArrayBuffer || ArrayBuffer.isView(message))) return this.#ask(path, { ...about, message })
    for (const k in about) about[k] ?? delete about[k]
    return this.#ask(path + "?" + new URLSearchParams(about), message, "application/octet-stream")
  }

  // Makes a call: a POST of body, which is JSON if it has no type, or a GET without a body.
  // With read, that reads a success, for as long as it likes.
  async #ask(path, body, type, read) {
    if (this.#closed) throw closed()
    const call = new AbortController, late = setTimeout(() => call.abort(), patience), headers = {}
    if (this.#token) headers.Authorization = "Bearer " + this.#token
    if (body) headers["Content-Type"] = type ?? "application/json"
    this.#calls.add(call)
    try {
      const answer = await fetch(this.url + path, { method: body ? "POST" : "GET", headers, body: type ? body : JSON.stringify(body), signal: call.signal, cache: "no-store" })
      if (read && answer.ok) {
        clearTimeout(late)
        return await read(answer)
      }
      const text = await answer.text(), { status } = answer
      let v
      try { v = JSON.parse(text) } catch {}
      if (answer.ok && v instanceof Object) return v
      if (/^urn:watchtower:/.test(v?.type)) throw fault(v.type, v.detail, { ...v, retryAfter: +answer.headers.get("Retry-After") || undefined })
      throw fault("no-gateway", `${this.url + path} answered ${status} without JSON: is it the gateway's address, and does the gateway run?`, { status })
    } catch (e) {
      if (e.name == "WatchtowerError") throw e
      throw this.#closed ? closed() : fault("network", `${this.url} does not answer: ${e.message}`)
    } finally {
      clearTimeout(late)
      call.abort()
      this.#calls.delete(call)
    }
  }

  // Follows channels by a WebSocket, and by another whenever that is lost.
  async #follow(j) {
    for (let tries = 0; !j.over; tries++) {
      j.opens = false
      const error = await this.#once(j).catch(e => e)
      if (j.over) return
      if (forGood(error)) return this.#end(j, error)
      if (j.opens) tries = 0
      const wait = Math.max(Math.min(longest, 2 ** tries / 2) * (0.75 + Math.random() / 2), error.retryAfter ?? 0)
      this.#tell(j, "reconnecting", error, wait)
      await new Promise(wake => {
        j.wake = wake
        j.timer = setTimeout(wake, wait * 1000)
      })
    }
  }

  // Follows channels by one connection, and returns why it ended. A WebSocket carries a token
  // that can only hear, since browsers and proxies keep what they see.
  async #once(j) {
    const began = [Date.now(), performance.now()], short = this.#token.startsWith("wtp_")
    const path = `/channels/join?channels=${j.channels}&echo=${j.echo}` + since(j)
    const open = socket => {
      j.socket = socket
      j.opens = true
      j.opened ??= began
      this.#tell(j, "open")
      j.joined()
    }
    let end
    if (globalThis.WebSocket && !j.plain) {
      const token = short ? this.#token : (await this.#ask("/tokens", { channels: j.channels.length > 50 ? undefined : j.channels })).token
      if (j.over) return
      end = await bySocket(j, this.url.replace(/^http/, "ws") + path + "&heartbeats=true", token, open)
    }
    if (!j.opens && !j.over) {
      // A page is not told why no WebSocket opens, but by the same request without one it is.
      // If that is let in, a proxy does not pass Upgrade on, and it has to do.
      end = await this.#ask(path + "&sender=" + this.id, undefined, undefined, answer => byLines(j, answer, open))
    }
    if (end?.reason == "expired" && short) return fault("urn:watchtower:problem:token-expired", end.detail, { status: 401 })
    return fault(end?.reason == "left" ? "left" : "network", end?.detail || "the connection was lost")
  }

  #end(j, error) {
    j.over = true
    clearTimeout(j.timer)
    j.wake?.()
    j.socket?.close()
    this.#joins.delete(j)
    this.#tell(j, "closed", error)
    j.refused(error)
  }

  #tell({ channels }, state, error, wait) {
    queueMicrotask(() => this.onstate?.({ state, channels, reason: error?.message, error, wait }))
  }
}

// since returns where the next WebSocket begins: after the last message, or when the first
// one began.
function since({ last, since: asked, opened }) {
  if (opened && !/^all$|^\w{26}$|-/.test(asked)) {
    const ms = Math.max(Date.now() - opened[0], performance.now() - opened[1]) // either clock may stand still, or be set
    asked = (asked ?? "") + Math.ceil(ms / 1000 + 1) + "s"
  }
  return last ?? asked ? "&since=" + encodeURIComponent(last ?? asked) : ""
}

function bySocket(j, url, token, open) {
  return new Promise(ended => {
    const socket = j.socket = new WebSocket(url, ["watchtower", "watchtower.bearer." + token])
    // Who is silent for too long is gone: close alone would wait for its answer.
    let late, most
    const wait = ms => {
      clearTimeout(late)
      late = ms && setTimeout(() => ended(socket.close()), ms)
    }
    wait(opening)
    socket.onopen = () => {
      wait()
      j.upgrades = true
      open(socket)
    }
    socket.onmessage = ({ data }) => {
      most = hear(j, data)?.every * 2000 || most
      wait(most)
    }
    socket.onclose = ({ code, reason }) => {
      wait()
      ended({ reason: code == 4401 ? "expired" : /left/.test(reason) && "left", detail: reason })
    }
  })
}

async function byLines(j, answer, open) {
  const reader = answer.body.pipeThrough(new TextDecoderStream).getReader()
  let rest = "", end
  open({ close: () => reader.cancel().catch(() => {}) })
  j.plain = !j.upgrades // else a WebSocket is tried again next time
  for (let part; !end && !(part = await reader.read()).done;) {
    const lines = (rest + part.value).split("\n")
    rest = lines.pop()
    for (const line of lines) if (line) end = hear(j, line) // else it is a heartbeat
  }
  return end
}

// hear handles a line of a stream, and returns it if it ends the stream.
function hear(j, line) {
  if (j.over) return
  const { encoding, ...m } = JSON.parse(line)
  if (m.type == "end" || m.every) return m
  if (m.type == "gap") return call(j.onGap, m.channel)
  if (m.type == "confirm") return call(j.onConfirm, m)
  if (!m.id || !m.channel) return // no message
  j.last = m.id
  if (encoding) m.message = Uint8Array.from(atob(m.message), c => c.charCodeAt())
  call(j.onMessage, m)
}

// call calls a function of the program's. What that throws is reported, and ends nothing here.
function call(f, value) {
  try {
    f?.(value)
  } catch (e) {
    setTimeout(() => { throw e })
  }
}

export const connect = Watchtower.connect
