import { html } from "./ui.js"

export const Channels = ({ of }) => html`<h1>Channels</h1><p>${of}</p>`
