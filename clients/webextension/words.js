// Words and times in the browser's language.

export const text = (key, ...values) => chrome.i18n.getMessage(key, values.map(String)) || key;

const language = () => chrome.i18n.getUILanguage();

/** Return an instant: the time, and the day where that is not today. */
export function moment(timestamp) {
  const at = new Date(timestamp);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(language(), { ...(today ? {} : { dateStyle: "medium" }), timeStyle: "short" });
}

export function degrees(value) {
  const form = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return `${value.toLocaleString(language(), form)} °C`;
}

export function people(count) {
  return count === 0 ? text("nobody") : count === 1 ? text("one_person") : text("people_here", count);
}

/** Put the page's texts into it: elements name theirs in data-text. */
export function translate(page) {
  page.documentElement.lang = language();
  for (const element of page.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
}
