// What an open page does by itself: look again, count the time on, follow a job. Without it everything can be read and
// every form works; nothing here writes markup of its own.

const body = document.body;
const REFRESH = Number(body.dataset.refresh) * 1000;
const said = document.getElementById("said");

// ── times ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function relative(at) {
    const away = (at - Date.now()) / 1000;
    if (Math.abs(away) < 1) return "now";
    const [size, unit] = UNITS.find(([size]) => Math.abs(away) >= size);
    const text = `${Math.floor(Math.abs(away) / size)} ${unit}`;
    return away > 0 ? `in ${text}` : `${text} ago`;
}

function tellTimes() {
    for (const time of document.querySelectorAll("time[data-relative]")) {
        const at = Date.parse(time.dateTime);
        if (!Number.isNaN(at)) time.textContent = relative(at);
    }
}

setInterval(tellTimes, 1000);

// ── looking again ─────────────────────────────────────────────────────────────────────────────────────────────────

const live = document.querySelector("[data-live]");
const switchOff = document.getElementById("still");
let timer = 0;
let under = false;

function busy() {
    const at = document.activeElement;
    const writing = at && live.contains(at) && at.matches("input, textarea, select");
    const selecting = !getSelection().isCollapsed && live.contains(getSelection().anchorNode);
    return writing || selecting || live.querySelector("dialog[open]") !== null;
}

// What is there already stays the very element that it is: so focus, what was typed, what is unfolded and what was
// scrolled stay, too. Only what differs is written.
function key(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const head = node.matches("tr, li") ? node.querySelector("a[href], time") : null;
    const own = node.id || node.getAttribute("href") || node.getAttribute("action") || node.getAttribute("name");
    return `${node.nodeName} ${own || head?.getAttribute("href") || head?.dateTime || ""}`;
}

function follow(old, made) {
    if (old.isEqualNode(made)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
        old.nodeValue = made.nodeValue;
        return;
    }
    const theirs = (name) => old.matches("details") && name === "open";
    for (const {name} of [...old.attributes]) if (!made.hasAttribute(name) && !theirs(name)) old.removeAttribute(name);
    for (const {name, value} of made.attributes) if (old.getAttribute(name) !== value && !theirs(name)) old.setAttribute(name, value);
    followAll(old, made);
}

function followAll(old, made) {
    const wanted = new Map();
    for (const one of made.childNodes) wanted.set(key(one), (wanted.get(key(one)) ?? 0) + 1);
    for (const one of [...old.childNodes]) {
        const left = wanted.get(key(one)) ?? 0;
        if (left) wanted.set(key(one), left - 1);
        else one.remove();
    }
    let at = old.firstChild;
    for (const one of [...made.childNodes]) {
        let match = at;
        while (match && key(match) !== key(one)) match = match.nextSibling;
        if (!match) {
            old.insertBefore(one, at);
        } else {
            if (match === at) at = at.nextSibling;
            else old.insertBefore(match, at);
            follow(match, one);
        }
    }
}

function replace(text) {
    const focused = document.activeElement;
    followAll(live, new DOMParser().parseFromString(text, "text/html").body);
    if (focused && focused !== document.body && document.activeElement !== focused) {  // it has moved, or is gone
        (focused.isConnected ? focused : document.getElementById("main")).focus({preventScroll: true});
    }
    tellTimes();
}

function tell(text) {
    if (said && said.textContent !== text) said.textContent = text;
}

async function look() {
    clearTimeout(timer);
    if (under || document.hidden) return;
    under = true;
    let wait = REFRESH;
    try {
        if (!busy()) {
            const answer = await fetch(location.href, {
                headers: {"X-Offpath-Part": "1"}, credentials: "same-origin", redirect: "error", cache: "no-store",
            });
            if (answer.status === 401) {
                tell("You have been signed out. Load the page again.");
                return;
            }
            if (!answer.ok) throw new Error(String(answer.status));
            if (live.dataset.live === "load") {  // there was no page to show: now there is
                location.reload();
                return;
            }
            const text = await answer.text();
            if (!busy()) replace(text);
            tell("");
            body.dataset.looked = String(Number(body.dataset.looked ?? 0) + 1);
            if (live.querySelector("[data-ended]")) return;
        }
    } catch {
        tell("This page could not be brought up to date; trying again.");
        wait = REFRESH * 4;
    } finally {
        under = false;
    }
    if (!switchOff?.checked) timer = setTimeout(look, wait);
}

if (live && !live.querySelector("[data-ended]")) {
    if (switchOff) switchOff.checked = sessionStorage.getItem("still") === "1";
    if (!switchOff?.checked) timer = setTimeout(look, REFRESH);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && !switchOff?.checked) look(); });
    switchOff?.addEventListener("change", () => {
        sessionStorage.setItem("still", switchOff.checked ? "1" : "");
        if (switchOff.checked) clearTimeout(timer); else look();
    });
    switchOff?.closest("[hidden]")?.removeAttribute("hidden");
}

// ── one job, as it happens ────────────────────────────────────────────────────────────────────────────────────────

const watched = document.querySelector("[data-events]");

if (watched && !document.querySelector("[data-ended]")) {
    const source = new EventSource(watched.dataset.events);
    const NAMES = ["queued", "started", "progress", "retrying", "requeued", "canceling", "succeeded", "failed", "canceled"];
    source.addEventListener("operation.progress", (event) => {
        const bar = document.getElementById("progress");
        const words = document.getElementById("progress-words");
        let data = {};
        try { data = JSON.parse(event.data); } catch { return; }
        const seen = data.progress ?? data;
        if (!bar || !words) { look(); return; }
        if (typeof seen.percent === "number") bar.value = seen.percent;
        const counted = seen.total == null ? `${seen.current ?? ""}` : `${seen.current} of ${seen.total}`;
        const far = [counted, counted && seen.unit].filter(Boolean).join(" ");
        words.textContent = visible([far, seen.message].filter(Boolean).join(": "));
    });
    for (const name of NAMES.filter((name) => name !== "progress")) source.addEventListener(`operation.${name}`, () => look());
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) source.close(); };  // the looks go on
    addEventListener("pagehide", () => source.close());
}

// As the server shows text: what nobody sees, or what turns the rest around, as an escape.
function visible(text) {
    return text.replace(/(?![\n\t\r\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (sign) => {
        const code = sign.codePointAt(0), digits = code.toString(16);
        return code < 0x100 ? `\\x${digits.padStart(2, "0")}` : code < 0x10000 ? `\\u${digits.padStart(4, "0")}` : `\\U${digits.padStart(8, "0")}`;
    });
}

// ── keys and forms ────────────────────────────────────────────────────────────────────────────────────────────────

let first = "";
addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "/") {
        event.preventDefault();
        document.getElementById("find")?.focus();
    } else if (first === "g") {
        document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
    }
    first = event.key === "g" ? "g" : "";
});

// A form is sent once, however often its button is pressed.
addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 5000);
});

// An empty filter does not belong in the URL.
for (const form of document.querySelectorAll("form[method=get]")) {
    form.addEventListener("formdata", (event) => {
        for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
    });
}

// Where the pages are a strip (on a phone), the one that is open is in sight.
const here = document.querySelector("nav a[aria-current=page]");
here?.closest("ul").scrollTo({left: here.offsetLeft - 40, behavior: "instant"});

body.dataset.ready = "1";
