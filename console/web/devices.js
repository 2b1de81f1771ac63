import { html } from "./ui.js"

export const Devices = ({ of }) => html`<h1>Devices</h1><p>${of}</p>`
