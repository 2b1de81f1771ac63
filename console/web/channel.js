import { html } from "./ui.js"

export const Channel = ({ of }) => html`<h1>Channel</h1><p>${of}</p>`
