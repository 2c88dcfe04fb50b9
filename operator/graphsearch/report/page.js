// Draws every chart of a report at the width of its card, anew when the reader changes between light and dark.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const ink = dark.matches ? "#c3ccd7" : "#465263";
    const grid = dark.matches ? "#303a46" : "#e6eaef";
    const config = {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: {
        labelColor: ink,
        titleColor: ink,
        titleFontWeight: 500,
        gridColor: grid,
        domainColor: grid,
        tickColor: grid,
      },
      legend: { labelColor: ink, titleColor: ink },
    };
    const tooltip = { theme: dark.matches ? "dark" : "light" };
    for (const spec of document.querySelectorAll("script[data-chart]")) {
      const place = document.getElementById("chart-" + spec.dataset.chart);
      const renderer = spec.textContent.length > 200000 ? "canvas" : "svg";
      vegaEmbed(place, JSON.parse(spec.textContent), { actions: false, renderer, config, tooltip });
    }
  };
  show();
  dark.addEventListener("change", show);
})();
