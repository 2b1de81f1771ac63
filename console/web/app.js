// The frame around the screens.
import { Icon, Lamp, html, render, store, use, useEffect, useEvery, useNow, useRef, useState } from "./ui.js"
import { begin, mayDo, session, signOut } from "./session.js"
import { connect, link } from "./live.js"
import { askGateway, gateway } from "./feed.js"
import { span } from "./words.js"
import { SignIn } from "./signin.js"
import { Overview } from "./overview.js"
import { Channels } from "./channels.js"
import { Channel } from "./channel.js"
import { Devices } from "./devices.js"
import { Callbacks } from "./callbacks.js"
import { Topics } from "./topics.js"
import { HomeAssistant } from "./homeassistant.js"
import { Settings } from "./settings.js"
import { Start } from "./start.js"

// The screens, in the order of the navigation. On a phone those that are not "first" are
// behind More.
const screens = [
  { to: "", title: "Overview", icon: "overview", view: Overview, first: true },
  { to: "channels", title: "Channels", icon: "channels", view: Channels, one: Channel, first: true },
  { to: "devices", title: "Devices", icon: "devices", view: Devices, first: true },
  { to: "callbacks", title: "Callbacks", icon: "callbacks", view: Callbacks },
  { to: "topics", title: "Topics", icon: "topics", view: Topics },
  { to: "homeassistant", title: "Home Assistant", icon: "homeassistant", view: HomeAssistant },
  { to: "settings", title: "Settings", icon: "settings", view: Settings, role: "manage" },
  { to: "start", title: "Get started", icon: "start", view: Start },
]

// A screen's address is behind the #, so that it works below any path.
const hash = () => location.hash.replace(/^#\/?/, "")
const here = store(hash())
addEventListener("hashchange", () => here.set(hash()))

// light, dark, or as the system has it.
const themeSlot = "watchtower.theme"
const system = matchMedia("(prefers-color-scheme: dark)")
const theme = store(localStorage.getItem(themeSlot))
const dark = () => theme.get() ? theme.get() === "dark" : system.matches
const paint = () => { document.documentElement.dataset.theme = dark() ? "dark" : "light" }
system.addEventListener("change", () => { paint(); theme.set(theme.get()) })
theme.follow(paint)
paint()

function Theme() {
  use(theme)
  const other = dark() ? "light" : "dark"
  const change = () => {
    localStorage.setItem(themeSlot, other)
    theme.set(other)
  }
  return html`<button type="button" class="quiet" onClick=${change}><${Icon} name=${other} />${other === "dark" ? "Dark" : "Light"}</button>`
}

// State is the lamp of the frame.
function State() {
  const l = use(link), g = use(gateway), now = useNow()
  if (l.state === "lost") return html`<p class="state"><${Lamp} state="bad">No answer for ${span(now - l.since)}</${Lamp}></p>`
  if (g?.ready) return html`<p class="state" title=${g.ready.detail}><${Lamp} state="bad">Not ready</${Lamp}></p>`
  if (l.state === "connecting" || !g) return html`<p class="state"><${Lamp} state="idle">Connecting</${Lamp}></p>`
  return html`<p class="state"><${Lamp} state="good">${g.name || "Connected"}</${Lamp}></p>`
}

// Banner says what is wrong with the connection or the gateway, and what happens next.
function Banner() {
  const l = use(link), g = use(gateway), now = useNow()
  if (l.state === "lost") {
    return html`<p class="banner" role="status">Connection lost${l.why ? `: ${l.why}` : ""}. What you see is from ${span(now - l.since)} ago. Again in ${Math.max(1, Math.ceil((l.again - now) / 1000))} s.</p>`
  }
  return g?.ready ? html`<p class="banner" role="status"><strong>The gateway is not ready.</strong> ${g.ready.detail}</p>` : null
}

function Navigation({ at }) {
  const [more, setMore] = useState(false), me = use(session)
  useEffect(() => setMore(false), [at])
  const shown = screens.filter(s => !s.role || mayDo(s.role))
  return html`<nav class=${more ? "nav more" : "nav"} aria-label="Screens">
    <a class="brand" href="#/"><img src="console/icon.svg" alt="" width="28" height="28" />Watchtower</a>
    <ul>${shown.map(s => html`<li key=${s.to} class=${s.first ? "" : "later"}><a href=${"#/" + s.to} aria-current=${s.to === at ? "page" : undefined}><${Icon} name=${s.icon} />${s.title}</a></li>`)}
      <li class="opener"><button type="button" aria-expanded=${String(more)} onClick=${() => setMore(!more)}><${Icon} name="more" />More</button></li></ul>
    <div class="foot"><${State} /><${Theme} />
      ${me.ingress ? html`<p class="state">${me.name}</p>` : me.name ? html`<button type="button" class="quiet" onClick=${signOut}><${Icon} name="leave" />Sign out</button>`
        : html`<button type="button" class="quiet" onClick=${() => session.set(null)}>Sign in</button>`}
    </div>
  </nav>`
}

function Screens() {
  const path = use(here), main = useRef()
  const [to, ...rest] = path.split("/")
  const screen = screens.find(s => s.to === to), detail = rest.join("/")
  const title = screen ? screen.title + (detail ? " " + decode(detail) : "") : "Not found"
  useEvery(10000, askGateway, [])
  useEffect(() => link.follow(l => l.state === "open" && askGateway()), [])
  useEffect(() => {
    document.title = title + " · Watchtower"
    main.current?.focus({ preventScroll: true })
    scrollTo(0, 0)
  }, [path])
  const l = use(link)
  return html`<a class="skip" href="#main" onClick=${e => { e.preventDefault(); main.current.focus() }}>To the content</a>
    <${Navigation} at=${to} />
    <main id="main" ref=${main} tabindex="-1" class=${[l.state === "lost" ? "stale" : "", screen?.one && detail ? "filled" : ""].join(" ")}>
      <${Banner} />
      ${view(screen, detail)}
    </main>
    <p id="announced" class="unseen" role="status"></p>`
}

function view(screen, detail) {
  if (!screen) return html`<h1>There is no such screen</h1><p><a href="#/">To the overview</a></p>`
  if (screen.role && !mayDo(screen.role)) return html`<h1>${screen.title}</h1><p class="empty">For this you have to be signed in as one who may ${screen.role}. ${whoIsIt()}</p>`
  return detail && screen.one ? html`<${screen.one} key=${detail} of=${decode(detail)} />` : html`<${screen.view} key=${screen.to} of=${decode(detail)} />`
}

function whoIsIt() {
  const { name, role } = session.get()
  return name ? `You are ${name}, with the role ${role}.` : "You are not signed in."
}

function decode(text) {
  try { return decodeURIComponent(text) } catch { return text }
}

function App() {
  const me = use(session), [problem, setProblem] = useState()
  useEffect(() => {
    let timer
    const attempt = () => begin().then(() => setProblem(undefined), e => { setProblem(e); timer = setTimeout(attempt, 3000) })
    attempt()
    return () => clearTimeout(timer)
  }, [])
  if (me) return html`<${Screens} key=${me.token} />`
  if (me === null) return html`<${SignIn} />`
  return problem ? html`<p class="boot" role="status">${problem.message} It is asked again and again.</p>` : html`<p class="boot">Watchtower</p>`
}

connect()
const app = document.getElementById("app")
app.replaceChildren()
render(html`<${App} />`, app)
