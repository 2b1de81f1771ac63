// One topic: its retained message, publishing on it, and removing it or what is below it.
import { Confirm, Copy, Dialog, Fault, Pending, announce, html, useAct, useEffect, useRef, useState } from "./ui.js"
import { call, mayDo } from "./session.js"
import { gateway } from "./feed.js"
import { useAnswer } from "./pages.js"
import { Views, fromHex, inLine, inUTF8 } from "./message.js"
import { ago, bytes, many } from "./words.js"

const parent = topic => topic.slice(0, topic.lastIndexOf("/") + 1)

// own tells topics on which the gateway alone publishes: nobody removes what is there.
function own(topic) {
  const base = gateway.get()?.base_topic
  return topic.startsWith("$") || topic === base || topic.startsWith(base + "/")
}

// valueOf is a retained value as a message: text if it is UTF-8.
function valueOf(bytes) {
  const text = inUTF8(bytes)
  return text === null ? { kind: "bytes", body: bytes } : { kind: "text", body: text }
}

// useLevel asks what the tree says of one topic.
const useLevel = (topic, again) => useAnswer("topics", { query: { under: parent(topic), from: topic.slice(parent(topic).length), limit: 1 }, every: 5000, again })

// Topic shows a topic. It is asked for again when `again` changes.
export function Topic({ topic, again, onDo }) {
  const [answer, problem] = useLevel(topic, again)
  const l = answer?.topics.find(l => parent(topic) + l.level === topic)
  const [data, setData] = useState(null)
  const m = l?.retained, version = m ? `${m.time} ${m.bytes} ${m.text}` : ""
  useEffect(() => {
    let ended = false
    if (!m) { setData(null); return }
    call("GET", "topics/value", { query: { topic } }).then(b => ended || setData({ of: valueOf(b) }), e => ended || setData(e.status === 404 ? null : { problem: e }))
    return () => { ended = true }
  }, [version])
  return html`<h2 class="topic"><code><bdi>${inLine(topic)}</bdi></code></h2><p><${Copy} text=${topic} label="Copy the topic" /></p>
    ${problem ? html`<${Fault} of=${problem} />` : !answer ? html`<${Pending} />` : !m ? html`<p class="empty">${l?.below ? "Nothing is retained on this level itself." : "Nothing is retained here."}</p>` : html`
      <dl class="pairs"><div><dt>Size</dt><dd>${bytes(m.bytes)}</dd></div><div><dt>QoS</dt><dd>${m.qos}</dd></div>
        <div><dt>Received</dt><dd>${m.time ? ago(m.time) : "before the gateway's last start"}</dd></div></dl>
      ${!data ? html`<${Pending} lines=2 />` : data.problem ? html`<${Fault} of=${data.problem} />` : html`<${Views} of=${data.of} />`}`}
    ${l?.below ? html`<p>${many(l.below, "topic")} below this level.</p>` : null}
    <p class="buttons">
      ${mayDo("speak") ? html`<button type="button" onClick=${() => onDo("publish", { value: data?.of?.kind === "text" ? data.of.body : null })}>Publish here</button>` : null}
      ${mayDo("manage") && m && !own(topic) ? html`<button type="button" class="danger" onClick=${() => onDo("remove", { below: 0 })}>Remove</button>` : null}
      ${mayDo("manage") && l?.below && !own(topic) ? html`<button type="button" class="danger" onClick=${() => onDo("remove", { below: l.below })}>Remove ${many(l.below, "topic")} below</button>` : null}</p>`
}

// Remove asks, and removes a topic's message, or those below it.
export function Remove({ topic, below, onClose, onDone }) {
  const act = async () => {
    const { removed } = await call("DELETE", "topics/value", { query: below ? { under: topic + "/" } : { topic } })
    announce(`${many(removed, "retained message")} removed.`)
    onDone(topic)
  }
  return html`<${Confirm} title=${below ? `Remove ${many(below, "retained message")}?` : "Remove this retained message?"} button=${below ? `Remove ${many(below, "message")}` : "Remove it"} act=${act} onClose=${onClose}>
    <p>${below ? html`All ${many(below, "topic")} below <code>${inLine(topic)}/</code>. What the gateway itself announces stays.` : html`<code>${inLine(topic)}</code>`}</p>
    <p>Subscribers get an empty message. Devices that publish again bring it back.</p>
  </${Confirm}>`
}

// Publish is the form to publish on a topic.
export function Publish({ topic, value, onClose, onDone }) {
  const [busy, run, problem] = useAct(), form = useRef()
  const submit = async e => {
    e.preventDefault()
    const f = form.current.elements, to = f.topic.value, retain = f.retain.checked
    const done = await run(async () => {
      const body = f.as.value === "hex" ? fromHex(f.value.value) : new TextEncoder().encode(f.value.value)
      await call("PUT", "topics/value", { query: { topic: to, retain: String(retain), qos: f.qos.value }, bytes: body, type: f.as.value === "hex" ? "application/octet-stream" : "text/plain" })
    })
    if (!done) return
    announce(`Published on ${to}.`)
    onDone(to)
  }
  return html`<${Dialog} title="Publish" onClose=${onClose}><form ref=${form} class="fields" onSubmit=${submit}>
    <label>Topic<input name="topic" defaultValue=${topic ?? ""} required autofocus=${!topic} autocomplete="off" spellcheck=${false} /></label>
    <label>Message<textarea name="value" rows="5" spellcheck=${false} autofocus=${Boolean(topic)} defaultValue=${value ?? ""}></textarea></label>
    <div class="tools"><label class="check">As <select name="as"><option value="text">text</option><option value="hex">hexadecimal</option></select></label>
      <label class="check">QoS <select name="qos"><option>0</option><option selected>1</option><option>2</option></select></label>
      <label class="check"><input type="checkbox" name="retain" defaultChecked=${true} />Retain: the broker keeps it for those who come later</label></div>
    <${Fault} of=${problem} />
    <p class="buttons"><button class="main" disabled=${busy}>Publish</button><button type="button" onClick=${onClose}>Cancel</button></p>
  </form></${Dialog}>`
}
