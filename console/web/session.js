// Who is signed in, and the calls to the gateway.
import { store } from "./ui.js"

// All addresses are relative to the page, which may be below any path of a proxy.
export const address = path => new URL(path, document.baseURI)

// Where the token is kept: until the tab is closed, or with "stay" until it is signed out.
// No cookie: those have no port, so that every other service of this host would get it.
const slot = "watchtower.session"
const stored = () => {
  try {
    return JSON.parse(sessionStorage.getItem(slot) ?? localStorage.getItem(slot))
  } catch {
    return null
  }
}

// session is {token, role, name, open}; null: somebody has to sign in; undefined: that is not
// known yet.
export const session = store(undefined)
export const mayDo = role => ["look", "speak", "manage"].indexOf(session.get()?.role) >= ["look", "speak", "manage"].indexOf(role)

// isOpen says that one may look and speak here without signing in.
export const isOpen = store(false)

// farewell is why one has to sign in again.
export const farewell = store("")

// Problem is an error of a call: title, message, and status (0: there was no answer).
export class Problem extends Error {
  constructor(title, detail, status, more) {
    super(detail)
    Object.assign(this, { title, status }, more)
  }
}

const patience = 8000 // ms for an answer

// call makes a call below operator/, and returns its answer. It throws a Problem. bytes are a
// body of a type; limit is how many milliseconds the answer may take; whole returns fetch's
// Response as it is.
export async function call(method, path, { query = {}, body, bytes, type = "application/octet-stream", token = session.get()?.token, signal, limit = patience, whole } = {}) {
  const url = address("operator/" + path)
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value)
  const headers = token ? { Authorization: "Bearer " + token } : {}
  if (body !== undefined) headers["Content-Type"] = "application/json"
  if (bytes !== undefined) headers["Content-Type"] = type
  const tooLong = AbortSignal.timeout(limit)
  let answer
  try {
    answer = await fetch(url, { method, headers, body: bytes ?? (body && JSON.stringify(body)), cache: "no-store", signal: signal ? AbortSignal.any([tooLong, signal]) : tooLong })
  } catch (e) {
    if (signal?.aborted) throw e
    throw new Problem("No answer", tooLong.aborted ? "The gateway took too long." : "The gateway cannot be reached.", 0)
  }
  if (answer.ok) return whole ? answer : read(answer)
  const problem = await problemOf(answer)
  if (problem.status === 401 && path !== "session") leave("Your session has ended. Please sign in again.")
  throw problem
}

async function read(answer) {
  if (answer.status === 204) return null
  return answer.headers.get("Content-Type")?.includes("json") ? answer.json() : new Uint8Array(await answer.arrayBuffer())
}

async function problemOf(answer) {
  try {
    const p = await answer.json()
    return new Problem(p.title, p.detail, answer.status, { field: p.field, faults: p.faults, wait: Number(answer.headers.get("Retry-After")) || 0 })
  } catch {
    return new Problem("No answer of the gateway", `Something between here and the gateway answered ${answer.status}.`, 0)
  }
}

// begin finds out who we are: by a kept token, or on an open gateway without one.
export async function begin() {
  const kept = stored()
  try {
    const me = await call("GET", "session", { token: kept?.token })
    isOpen.set(me.open)
    session.set({ ...me, token: kept?.token })
  } catch (e) {
    if (e.status !== 401) throw e
    if (kept) farewell.set("Your session has ended. Please sign in again.")
    forget()
    session.set(null)
    if (kept) await lookWithout()
  }
}

// lookWithout goes on without a session, if the gateway is open.
export async function lookWithout() {
  try {
    session.set(await call("GET", "session", { token: "" }))
    isOpen.set(true)
    farewell.set("")
  } catch { /* it is not open */ }
}

// signIn exchanges {key} or {user, password} for a session.
export async function signIn(credentials, stay) {
  const made = await call("POST", "session", { body: { ...credentials, stay }, token: "" })
  forget()
  const where = stay ? localStorage : sessionStorage
  where.setItem(slot, JSON.stringify({ token: made.token }))
  farewell.set("")
  session.set(made)
}

// signOut ends the session here and at the gateway.
export async function signOut() {
  const ended = call("DELETE", "session").catch(() => {})
  leave("")
  await ended
  await lookWithout()
}

// leave goes back to the sign-in, which says why.
export function leave(why) {
  farewell.set(why)
  forget()
  session.set(null)
}

function forget() {
  sessionStorage.removeItem(slot)
  localStorage.removeItem(slot)
}
