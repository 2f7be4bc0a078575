// The bar that chooses a market: venue, a search box for the symbol, and where the page has them, interval and price.
// A choice is a new address, so that it can be kept, sent to somebody, and gone back from.

import { get } from "./api.js";
import { byId, make, pageData } from "./dom.js";
import { notice } from "./notices.js";

const SEARCH_AFTER_MS = 150;
const MOST = 40;
const USUAL_INTERVAL = "1m";

/** What the page shows, by its address and the server: venue, symbol, interval. */
export const market = { venue: pageData.venue ?? "", symbol: pageData.symbol ?? "", interval: pageData.interval ?? "" };

let known = []; // the venues, once they are told

/** Wire the bar. Resolves to the venues (the answer of /api/venues), or an empty list when they are not to be had. */
export async function startMarketBar() {
  byId("market-bar").addEventListener("submit", (event) => event.preventDefault());
  byId("symbol-search").value = market.symbol;
  wireSearch();
  const interval = document.getElementById("interval");
  if (interval !== null) wireInterval(interval);
  try {
    known = (await get("/api/venues")).venues;
    wireVenues(known);
    return known;
  } catch (error) {
    notice("venues", error.message, "warn");
    return [];
  }
}

/** The address of this page for another choice. */
function addressOf(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries({ ...market, ...changes })) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  return `${location.pathname}?${query}`;
}

/** The address for a symbol of a venue. Venues differ in their intervals: one that it lacks would be no page at all. */
function addressAt(venue, symbol) {
  const intervals = known.find((one) => one.name === venue)?.intervals ?? [];
  const isFit = market.interval === "" || intervals.length === 0 || intervals.includes(market.interval);
  const interval = isFit ? market.interval : intervals.includes(USUAL_INTERVAL) ? USUAL_INTERVAL : intervals[0];
  return addressOf({ venue, symbol, interval });
}

function wireInterval(select) {
  for (const name of pageData.intervals ?? []) select.append(make("option", { value: name, text: name }));
  if (market.interval && ![...select.options].some((one) => one.value === market.interval)) {
    select.append(make("option", { value: market.interval, text: market.interval }));
  }
  select.value = market.interval;
  select.addEventListener("change", () => location.assign(addressOf({ interval: select.value })));
}

function wireVenues(venues) {
  if (venues.length < 2) return;
  const select = byId("venue");
  for (const one of venues) select.append(make("option", { value: one.name, text: one.name }));
  select.value = market.venue;
  byId("venue-field").hidden = false;
  select.addEventListener("change", async () => {
    const chosen = venues.find((one) => one.name === select.value);
    const symbol = await symbolAt(chosen);
    if (select.value === chosen.name) location.assign(addressAt(chosen.name, symbol));
  });
}

/** The symbol of this page where the venue lists it as well, otherwise one whose book is kept there. */
async function symbolAt(venue) {
  if (venue.books.includes(market.symbol)) return market.symbol;
  try {
    // what is the same as the search comes first
    const [first] = (await get("/api/symbols", { venue: venue.name, search: market.symbol, limit: 1 })).symbols;
    if (first?.symbol === market.symbol && first.status !== "DELISTED") return market.symbol;
  } catch {
    // what is known of its books will do
  }
  return venue.books[0] ?? "";
}

/**
 * The search box: a combobox with a list of what matches, by keyboard or pointer. Enter opens what stands in the box, or
 * the entry that was moved to, however fast it was typed: where the list is still about another text, it is waited for.
 */
function wireSearch() {
  const box = byId("symbol-search");
  const list = byId("symbol-list");
  let found = [];
  let answered = null; // the text that `found` is about
  let active = -1;
  let moved = false; // whether `active` is the user's choice, not only the first of the list
  let timer = 0;
  let turn = 0;

  const close = () => {
    list.hidden = true;
    active = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const choose = (one) => {
    close();
    box.value = one.symbol;
    if (one.symbol !== market.symbol || one.venue !== market.venue) {
      location.assign(addressAt(one.venue, one.symbol));
    }
  };
  const point = (index) => {
    active = index;
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", String(place === index)));
    if (index < 0) box.removeAttribute("aria-activedescendant");
    else {
      box.setAttribute("aria-activedescendant", `symbol-${index}`);
      list.children[index].scrollIntoView({ block: "nearest" });
    }
  };
  const show = (message = "") => {
    list.replaceChildren(
      ...(found.length === 0
        ? [make("li", { class: "none", role: "option", "aria-disabled": "true", "aria-selected": "false", text: message })]
        : found.map((one, index) =>
            make(
              "li",
              {
                role: "option", id: `symbol-${index}`, "aria-selected": "false",
                on: { pointerdown: (event) => event.preventDefault(), click: () => choose(one) },
              },
              make("span", { text: one.symbol }),
              make("small", { text: [one.venue, one.status === "TRADING" ? "" : one.status].filter(Boolean).join(" · ") }),
            ),
          )),
    );
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
  };
  const take = (text, symbols, message) => {
    found = symbols;
    answered = text;
    moved = false;
    show(message);
    point(found.length && text ? 0 : -1);
  };
  const search = async () => {
    clearTimeout(timer);
    const mine = ++turn;
    const text = box.value.trim();
    try {
      const answer = await get("/api/symbols", { search: text, beside: `${market.venue}:${market.symbol}`, limit: MOST });
      if (mine === turn && document.activeElement === box) take(text, answer.symbols, "no symbol matches");
    } catch (error) {
      if (mine === turn) take(text, [], error.message);
    }
  };
  const open = async () => {
    const typed = box.value.trim();
    if (moved && answered === typed && !list.hidden) {
      choose(found[active]);
      return;
    }
    if (typed === "") return;
    if (answered !== typed) await search();
    if (answered !== typed || box.value.trim() !== typed) return; // the box was left, or more was typed
    const name = typed.toUpperCase();
    const exact = found.find((one) => one.symbol.toUpperCase() === name);
    choose(exact ?? found[0] ?? { symbol: name, venue: market.venue });
  };

  box.addEventListener("input", () => {
    moved = false;
    clearTimeout(timer);
    timer = setTimeout(search, SEARCH_AFTER_MS);
  });
  box.addEventListener("focus", () => box.select());
  box.addEventListener("click", () => list.hidden && void search());
  box.addEventListener("blur", () => {
    turn += 1;
    clearTimeout(timer);
    close();
    box.value = market.symbol;
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) void search();
      else if (found.length) {
        moved = true;
        const step = event.key === "ArrowDown" ? 1 : -1;
        point(active < 0 && step < 0 ? found.length - 1 : (active + step + found.length) % found.length);
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      void open();
    } else if (event.key === "Escape") {
      close();
      box.value = market.symbol;
    }
  });
}
