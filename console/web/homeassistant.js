import { html } from "./ui.js"

export const HomeAssistant = ({ of }) => html`<h1>HomeAssistant</h1><p>${of}</p>`
