"use strict";
/* What both tabs use: numbers as text, fields with their errors, sliders; and the tabs themselves. */
const page = (() => {
  const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

  /** Return a number as text with some significant digits: 0.002862, or 2.41 × 10⁻⁸. */
  function figure(x, digits = 4) {
    if (x === 0) return "0";
    if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
    const size = Math.abs(x);
    const isPlain = size >= 1e-4 && size < 1e6;
    const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
    const raised = [...String(Number(exponent))].map((each) => SUPERSCRIPTS[each]).join("");
    const text = isPlain ? String(Number(x.toPrecision(digits))) : `${Number(mantissa)} × 10${raised}`;
    return text.replaceAll("-", "−");
  }

  /** Return a share as per cent. */
  const percent = (x, digits = 2) => `${(100 * x).toFixed(digits)} %`;

  /** Return an HTML element. */
  function html(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  let numErrors = 0;

  /** Show an error beside a field, or take it away. */
  function mark(input, error, message) {
    error.textContent = message ?? "";
    error.id ||= `error-${++numErrors}`;
    input.setAttribute("aria-errormessage", error.id);
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }

  /**
   * Join a slider and a field that show one number.
   *
   * @param {Object} how slider, field, error; toSlider and fromSlider, between a number and a place of
   *     the slider; check(text), which returns a number or throws; onChange(number).
   * @returns {function(number)} Sets both, without a call of onChange.
   */
  function join({ slider, field, error, toSlider = (x) => x, fromSlider = (x) => x, check, onChange }) {
    const set = (number) => {
      field.value = String(Number(number.toPrecision(6)));
      slider.value = toSlider(number);
      slider.setAttribute("aria-valuetext", field.value);
      mark(field, error);
    };
    slider.addEventListener("input", () => {
      set(fromSlider(Number(slider.value)));
      onChange(Number(field.value));
    });
    field.addEventListener("input", () => {
      try {
        const number = check(field.value);
        slider.value = toSlider(number);
        slider.setAttribute("aria-valuetext", field.value);
        mark(field, error);
        onChange(number);
      } catch (problem) {
        mark(field, error, problem.message);
      }
    });
    return set;
  }

  /** Return the number in a text, or throw unless it lies within bounds. */
  function numberIn(text, low, high, what, isWhole = false) {
    const number = csv.numberOf(text);
    const fits = number >= low && number <= high && (!isWhole || Number.isInteger(number));
    if (!fits) {
      throw new ReadError(`${what} must be a ${isWhole ? "whole " : ""}number from ${low} to ${high}.`);
    }
    return number;
  }

  const tabs = [...document.querySelectorAll("[role=tab]")];

  /** Show the panel of a tab. */
  function select(tab) {
    for (const each of tabs) {
      const isIt = each === tab;
      each.setAttribute("aria-selected", String(isIt));
      each.tabIndex = isIt ? 0 : -1;
      document.getElementById(each.getAttribute("aria-controls")).hidden = !isIt;
    }
  }

  tabs.forEach((tab, i) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: -1 }[key];
      if (to === undefined) return;
      const next = tabs.at(to % tabs.length);
      open(next);
      next.focus();
    });
  });

  function open(tab) {
    select(tab);
    const hash = tab.id === "tab-files" ? "#files" : document.getElementById("link").getAttribute("href");
    history.replaceState(null, "", hash);
  }

  // Opened from a checkout, the page has no built documentation beside it.
  document.getElementById("home").hidden = location.protocol === "file:" && /\/docs\/calculator\//.test(location.pathname);

  return { figure, html, join, mark, numberIn, percent, select, tabs };
})();
