// Opens a page as readers do (light, dark, on a telephone, on paper), and says what a person would have to look for:
//   node look.mjs PAGE.html FOLDER CHROMIUM [SCREEN...]   ->  JSON on stdout, pictures and a PDF in FOLDER
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [page_path, folder, executablePath, ...screens] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");

const VIEWS = {
  light: { viewport: { width: 1200, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1200, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 360, height: 780 }, colorScheme: "light" },
  "narrow-dark": { viewport: { width: 360, height: 780 }, colorScheme: "dark" },
};

function measure() {
  const root = document.documentElement;
  // Wide content may scroll inside a region that the keyboard reaches, and nowhere else.
  const wide = [...document.querySelectorAll("body *")].filter(
    (each) => !each.closest(".scroll, .skip, details:not([open])") && each.getBoundingClientRect().right > root.clientWidth + 1,
  );
  return {
    overflow: root.scrollWidth - root.clientWidth,
    wide: wide.map((each) => each.outerHTML.slice(0, 120)),
    styled: getComputedStyle(document.body).marginTop === "0px",
    background: getComputedStyle(document.body).backgroundColor,
  };
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] }); // as root, in containers
const said = {};
for (const name of screens.length ? screens : Object.keys(VIEWS)) {
  const context = await browser.newContext({ ...VIEWS[name], reducedMotion: "reduce" });
  const page = await context.newPage();
  const messages = [];
  const requests = [];
  page.on("console", (message) => messages.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => messages.push(`error: ${error.message}`));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(pathToFileURL(page_path).href);
  const measured = await page.evaluate(measure);
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
  await page.evaluate(axe); // through the debugger: the page's own policy stays in force
  const { violations, passes } = await page.evaluate(() =>
    window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  said[name] = {
    ...measured,
    messages,
    requests: requests.length,
    passes: passes.map((each) => each.id),
    violations: violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`),
  };
  if (name === "light") {
    await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = false)));
    await page.keyboard.press("Tab");
    said.first_stop = await page.evaluate(() => {
      const box = document.activeElement.getBoundingClientRect();
      return { text: document.activeElement.textContent, outline: getComputedStyle(document.activeElement).outlineStyle, top: box.top };
    });
    await page.emulateMedia({ media: "print" });
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    said.print = await page.evaluate(() => ({
      folded: [...document.querySelectorAll("details tr")].filter((row) => !row.checkVisibility({ contentVisibilityAuto: true })).length,
      rows: document.querySelectorAll("details tr").length,
    }));
    await page.pdf({ path: join(folder, "print.pdf"), preferCSSPageSize: true, printBackground: false });
  }
  await context.close();
}
await browser.close();
process.stdout.write(JSON.stringify(said));
