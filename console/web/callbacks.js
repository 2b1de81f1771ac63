import { html } from "./ui.js"

export const Callbacks = ({ of }) => html`<h1>Callbacks</h1><p>${of}</p>`
