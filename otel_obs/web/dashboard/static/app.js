// What every page has: the theme, tips of charts, a period chosen by dragging, menus that close.
const root = document.documentElement;

for (const button of document.querySelectorAll("[data-theme-toggle]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `otel_obs_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  });
}

// Where pages stand in a row, the one that is open is in sight.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);

export function tell(text, x, y) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18}px`;
}

document.addEventListener("pointermove", (event) => {
  const spot = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  tell(spot?.dataset.tip, event.clientX, event.clientY);
});
document.addEventListener("pointerleave", () => tell(""));

// Drag over a chart: the same page for that period.
for (const plot of document.querySelectorAll(".plot[data-brush]")) {
  const svg = plot.querySelector("svg");
  const brush = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  brush.setAttribute("class", "brush");
  brush.setAttribute("height", "200");
  let from = null;
  let dragged = false;
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return Math.max(0, Math.min(1000, (1000 * (event.clientX - box.left)) / box.width));
  };
  const spots = () => [...svg.querySelectorAll(".spot")];
  const near = (x) => spots().find((spot) => x < Number(spot.getAttribute("x")) + Number(spot.getAttribute("width"))) ?? spots().at(-1);
  svg.addEventListener("pointerdown", (event) => { if (event.button === 0 && event.pointerType === "mouse") from = at(event); dragged = false; });
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = at(event);
    if (!dragged && Math.abs(to - from) < 8) return;
    if (!dragged) svg.append(brush);
    dragged = true;
    brush.setAttribute("x", Math.min(from, to));
    brush.setAttribute("width", Math.abs(to - from));
  });
  addEventListener("pointerup", (event) => {
    if (from !== null && dragged) {
      const [first, last] = [from, at(event)].sort((a, b) => a - b).map(near).map((spot) => spot.closest("a")?.getAttribute("href"));
      if (first && last) {
        const url = new URL(first, location);
        url.searchParams.set("until", new URL(last, location).searchParams.get("until"));
        location.assign(url);
      }
    }
    from = null;
    brush.remove();
  });
  svg.addEventListener("click", (event) => { if (dragged) event.preventDefault(); dragged = false; });
}

const menus = [...document.querySelectorAll("details.menu")];
document.addEventListener("click", (event) => { for (const menu of menus) if (!menu.contains(event.target)) menu.open = false; });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const open = menus.find((menu) => menu.open);
    if (open) { open.open = false; open.querySelector("summary").focus(); }
    tell("");
  }
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
for (const field of document.querySelectorAll("[data-submit]")) field.addEventListener("change", () => field.form.requestSubmit());
// A form of filters sends what is filled in, so that addresses stay short.
for (const form of document.querySelectorAll("form[method=get]")) {
  form.addEventListener("formdata", (event) => { for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name); });
}
