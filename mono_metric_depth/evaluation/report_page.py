# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The frame and the looks of the report's page."""

from __future__ import annotations

#: CSS: one column on a phone, as many as fit elsewhere; blocks stay whole on paper.
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 66rem; color: #1c1c1c; background: #fff;
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .2rem 0; line-height: 1.2; }
h2 { font-size: 1.2rem; margin: 2rem 0 .6rem; border-bottom: 2px solid #1b6ca8; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
.lead { font-size: 1.1rem; }
.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile { border: 1px solid #d5dbe1; border-radius: .4rem; padding: .6rem; background: #f6f9fb; }
.tile span, .tile small { display: block; color: #555; font-size: .85rem; }
.tile strong { font-size: 1.7rem; }
.mind { background: #fff6e0; border-left: 4px solid #d1751f; padding: .6rem .6rem .6rem 1.8rem; }
.notes { color: #555; font-size: .88rem; }
figure { margin: .5rem 0; }
figure { max-width: 34rem; }
figure.wide { max-width: none; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: #555; font-size: .85rem; }
.pair { display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.pictures { display: grid; gap: .3rem .8rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.pictures figure { margin: .1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .35rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child { text-align: left; }
thead th { font-weight: 600; vertical-align: bottom; overflow-wrap: normal; }
td small { display: block; color: #666; font-size: .75rem; white-space: nowrap; }
tbody th, td { white-space: nowrap; }
th small { display: block; color: #666; font-size: .75rem; }
.drives tbody th { white-space: normal; font-weight: 400; min-width: 5rem; }
.regions { table-layout: fixed; margin-top: 1rem; }
.best { font-weight: 700; }
.regions td { text-align: center; border: 1px solid #fff; }
.regions td small { color: #333; }
caption { text-align: left; color: #555; font-size: .85rem; }
pre { background: #f3f3f3; padding: .6rem; font-size: .78rem; white-space: pre-wrap; }
.bar { display: inline-block; width: 6rem; height: .8rem; vertical-align: middle; }
.turbo { background: linear-gradient(90deg, #7a0403, #d93806, #fb8022, #edd03a, #a2fc3c, #32f298,
  #28bceb, #4669e0, #30123b); }
@media screen and (max-width: 30rem) {
  body { padding: .7rem; } table { font-size: .78rem; } th, td { padding: .2rem .15rem; }
  td small { font-size: .66rem; } .scalings td:not(:nth-child(2)) small { display: none; }
}
@media print {
  html { font-size: 9.5pt; } body { max-width: none; padding: 0; }
  .frame, figure, table { break-inside: avoid; } h2, h3 { break-after: avoid; }
  .pair { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .pictures { grid-template-columns: repeat(2, minmax(0, 1fr)); max-width: 48rem; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

#: To be filled in with title, style, date and body.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>Depth evaluation: {title}</title>
<style>{style}</style>
</head>
<body>
<h1>Depth evaluation: {title}</h1>
<p class="notes">Written {date} by mono_metric_depth</p>
{body}
</body>
</html>
"""
