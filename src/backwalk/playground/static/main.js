// The page: picture, slider, tabs, and what happens when the state changes.
import { byId, digits, el, number, say } from "./dom.js";
import { boundPanel } from "./panel_bound.js";
import { codePanel, copy } from "./panel_code.js";
import { comparePanel } from "./panel_compare.js";
import { fieldPanel } from "./panel_field.js";
import { particlePanel, pick } from "./panel_particle.js";
import { dataPanel } from "./panel_data.js";
import { trainPanel } from "./panel_train.js";
import { watchPanel } from "./panel_watch.js";
import { pause, play, playFirst, player, redraw, showPosition, singleStep, startPlayer } from "./player.js";
import { drawChain, onPicture, openModel, session, startSession, tell, untell, usualCaption } from "./session.js";
import { Refused, heldRows } from "./source.js";
import { change, hasAddress, link, onChange, readFragment, state, writeFragment } from "./state.js";
import { goTo, showTour } from "./tour.js";

const PANELS = [watchPanel, dataPanel, trainPanel, particlePanel, fieldPanel, boundPanel, comparePanel, codePanel];
const SIDES = ["forward", "backward", "both", "estimate"];
const REDRAWS_CHAIN = ["n", "seed", "solver", "evaluations", "variance", "eta"];
let open = null;

function visibleStages() {
  return session.stages.filter((stage) => !stage.root.hidden);
}

function reading() {
  const parts = visibleStages().map((stage) => {
    const { chain } = stage;
    if (!chain || stage.snapshot) return "";
    const i = chain.index(state.p);
    return `t = ${number(chain.t[i])} · ᾱₜ = ${digits(chain.alphaBar[i])} · log-SNR ${digits(chain.logSnr[i])}`;
  });
  return parts.length > 1 ? parts.map((text, i) => `${"AB"[i]}: ${text}`).join("\n") : parts[0] || "";
}

function drawAll() {
  const isOfPaper = state.tab === "particle" && heldRows(session.card?.id); // the steps are not those of the picture's chain
  for (const stage of visibleStages()) {
    stage.draw(state.p, state.side, { trails: state.trails && state.tab !== "field" && !isOfPaper, row: state.tab === "particle" && !isOfPaper ? state.row : null });
  }
  const text = reading(), isSame = text === byId("reading").textContent;
  if (isSame && player.playing) return;
  byId("reading").textContent = text;
  byId("level").setAttribute("aria-valuetext", text);
  const label = { forward: "Rows with noise added", backward: "Generated rows on their way from noise to data", both: "Rows with noise added, and generated rows", estimate: "Estimates of the clean rows" }[state.side];
  for (const stage of visibleStages()) stage.view.setAttribute("aria-label", `${label}: ${text}`);
}

function tabButton(name) {
  return byId(`tab-${name}`);
}

function buildTabs() {
  const list = byId("tabs"), panels = byId("panels");
  for (const panel of PANELS) {
    const tab = el("button", { type: "button", role: "tab", id: `tab-${panel.name}`, "aria-controls": `panel-${panel.name}`, "aria-selected": "false", tabindex: "-1" }, panel.title);
    tab.addEventListener("click", () => change({ tab: panel.name }));
    list.append(tab);
    panel.root = el("section", { role: "tabpanel", id: `panel-${panel.name}`, "aria-labelledby": `tab-${panel.name}`, hidden: true });
    panels.append(panel.root);
    panel.build(panel.root);
  }
  list.addEventListener("keydown", (event) => {
    const now = PANELS.findIndex((panel) => panel.name === state.tab), last = PANELS.length - 1;
    const next = { ArrowRight: now === last ? 0 : now + 1, ArrowLeft: now === 0 ? last : now - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    change({ tab: PANELS[next].name });
    tabButton(PANELS[next].name).focus();
  });
}

function showTab() {
  const next = PANELS.find((panel) => panel.name === state.tab) || PANELS[0];
  if (open === next) return;
  const isSwitch = open !== null;
  if (open) {
    open.root.hidden = true;
    tabButton(open.name).setAttribute("aria-selected", "false");
    tabButton(open.name).tabIndex = -1;
    open.hide?.();
  }
  open = next;
  open.root.hidden = false;
  tabButton(open.name).setAttribute("aria-selected", "true");
  tabButton(open.name).tabIndex = 0;
  if (isSwitch) untell();
  open.show?.();
}

// How much of the window the picture covers above the text; nothing where it stands beside it.
function measurePicture() {
  const isAbove = getComputedStyle(document.querySelector("main")).gridTemplateColumns.split(" ").length === 1;
  const isThere = isAbove && getComputedStyle(byId("picture")).position === "sticky";
  document.documentElement.style.setProperty("--above", `${isThere ? byId("picture").offsetHeight : 0}px`);
}

function showSide() {
  for (const name of SIDES) byId(`side-${name}`).checked = state.side === name;
}

function listenToPicture(stage) {
  stage.view.addEventListener("click", (event) => {
    if (stage !== session.stages[0] || !stage.chain || stage.snapshot || state.tab === "compare") return;
    const box = stage.view.getBoundingClientRect();
    pick(stage.nearest(state.p, state.side, event.clientX - box.left, event.clientY - box.top));
  });
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.target !== document.body || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { " ": () => (player.playing ? pause() : play()), ArrowLeft: () => singleStep(-1), ArrowRight: () => singleStep(1) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function react(changed) {
  if (changed.has("tab")) showTab();
  if (changed.has("side")) {
    showSide();
    if (state.tab !== "compare" && !session.stages[0].snapshot) session.stages[0].caption.textContent = usualCaption();
  }
  if (changed.has("tour")) showTour();
  if (REDRAWS_CHAIN.some((name) => changed.has(name))) drawChain();
  if (changed.has("p") && !player.playing) showPosition();
  if (changed.has("side") || changed.has("trails") || changed.has("row") || changed.has("p")) redraw();
  open?.update?.(changed);
}

// A model that was trained in another page can be trained again here, from the rows and settings of the link.
async function openFromLink() {
  const asked = state.model;
  try {
    await openModel(asked);
  } catch (error) {
    if (!(error instanceof Refused) || asked === "") throw error;
    await openModel("");
    const hasRows = state.data && state.fit;
    if (hasRows) change({ tab: "train" });
    tell(new Refused(`The link's model was trained in another page${hasRows ? ": press Train, as its rows and settings are in the link." : " on a file: choose the file again under Data."}`));
  }
}

async function start() {
  Object.assign(state, readFragment());
  startSession(); // the worker starts while the page is built
  const [first, second] = session.stages;
  second.root.hidden = true;
  byId("stages").append(first.root, second.root);
  session.stages.forEach(listenToPicture);
  player.draw = drawAll;
  player.states = () => Math.max(2, ...visibleStages().map((stage) => stage.chain?.k || 2));
  onChange(react);
  buildTabs();
  for (const name of SIDES) byId(`side-${name}`).addEventListener("change", () => change({ side: name }));
  showSide();
  showTour();
  byId("start-tour").addEventListener("click", () => goTo(1));
  byId("share").hidden = !hasAddress;
  byId("share").addEventListener("click", () => {
    writeFragment();
    copy(link(), "The link");
  });
  byId("problem-close").addEventListener("click", untell);
  document.addEventListener("click", (event) => {
    const { tab, action } = event.target.closest?.("[data-tab], [data-action]")?.dataset || {};
    if (tab) change({ tab });
    if (action === "tour") goTo(1);
  });
  listenToKeys();
  document.querySelector(".skip").addEventListener("click", (event) => { // the fragment holds the state
    event.preventDefault();
    tabButton(open.name).focus();
  });
  new ResizeObserver(redraw).observe(byId("stages"));
  new ResizeObserver(measurePicture).observe(byId("picture"));
  window.addEventListener("resize", measurePicture);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  window.addEventListener("pagehide", writeFragment);
  startPlayer();
  let isFirst = !location.hash.includes("p=") && state.tour === 0;
  onPicture(() => {
    if (isFirst && !first.snapshot) playFirst();
    isFirst = false;
    showPosition();
  });
  showTab();
  await openFromLink();
  window.addEventListener("hashchange", () => location.reload()); // another link in this tab
  document.body.classList.add("ready");
  say("The page is ready.");
}

start().catch(tell);
