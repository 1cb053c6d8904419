/** Sets the text of an element, unless it is that already. */
export function setText(id, text) {
  const element = document.getElementById(id);
  if (element.textContent !== text) element.textContent = text;
}
