// Signing in: with the admin key, or as a user of the configuration.
import { Fault, html, use, useAct, useEffect, useRef, useState } from "./ui.js"
import { farewell, isOpen, lookWithout, signIn } from "./session.js"

export function SignIn() {
  const [asUser, setAsUser] = useState(false), [stay, setStay] = useState(false)
  const [busy, run, problem] = useAct(), [wait, setWait] = useState(0)
  const why = use(farewell), form = useRef()
  useEffect(() => { document.title = "Sign in · Watchtower" }, [])
  useEffect(() => {
    setWait(problem?.wait ?? 0)
    if (problem?.status === 401) form.current.elements.secret.select()
  }, [problem])
  useEffect(() => {
    if (!wait) return
    const timer = setTimeout(() => setWait(wait - 1), 1000)
    return () => clearTimeout(timer)
  }, [wait])
  const submit = e => {
    e.preventDefault()
    const { user, secret } = form.current.elements
    run(() => signIn(asUser ? { user: user.value, password: secret.value } : { key: secret.value.trim() }, stay))
  }
  return html`<main class="signin"><form ref=${form} onSubmit=${submit}>
    <img src="console/icon.svg" alt="" width="48" height="48" />
    <h1>Watchtower</h1>
    ${why ? html`<p class="notice" role="status">${why}</p>` : null}
    ${asUser ? html`<label>Name<input name="user" autocomplete="username" required autofocus /></label>` : null}
    <label>${asUser ? "Password" : "Admin key"}<input name="secret" type="password" autocomplete="current-password" required autofocus aria-describedby="where" /></label>
    <p id="where" class="hint">${asUser ? "A user of the configuration, with a role." : html`The gateway showed it when it started first. On its machine <code>watchtower admin-key</code> prints it. It is not the secret key of the devices.`}</p>
    <label class="check"><input type="checkbox" checked=${stay} onChange=${e => setStay(e.target.checked)} />Stay signed in on this device for 30 days</label>
    <${Fault} of=${problem && worded(problem, asUser)} />
    <button class="main" disabled=${busy || wait > 0}>${wait > 0 ? `Again in ${wait} s` : "Sign in"}</button>
    <p class="buttons"><button type="button" class="quiet" onClick=${() => setAsUser(!asUser)}>${asUser ? "Use the admin key" : "Sign in with a name"}</button>
    ${use(isOpen) ? html`<button type="button" class="quiet" onClick=${lookWithout}>Go on without</button>` : null}</p>
  </form></main>`
}

function worded(problem, asUser) {
  if (problem.status !== 401) return problem
  return { title: asUser ? "That is not the name or the password" : "That is not the key", message: "Nothing was changed." }
}
