// The slices on the study page: CT, overlays, planes, windows, and the way to each level's key slice.
//
// The pictures that the node drew stand there first and stay where this cannot run: without WebGL 2, without scripts, on
// a connection that saves data. The library and the volumes are fetched after the page has been shown.
"use strict";
(() => {
  const stage = document.getElementById("stage");
  if (!stage || !stage.dataset.study) return;
  const tools = document.getElementById("viewer-tools");
  const canvas = document.getElementById("slices");
  const box = document.getElementById("slices-box"); // the library sizes the canvas itself, to fill this
  const pictures = document.getElementById("stage-pictures");
  const said = document.getElementById("viewer-status");
  const words = said.dataset;
  const WINDOWS = { bone: [-500, 1300], soft: [-160, 240] };
  const OPACITY = 0.4;
  const VERTEBRAE = 1;
  let viewer = null;
  let study = null;

  function tell(text) {
    said.textContent = text;
  }

  function hasWebGl() {
    const probe = document.createElement("canvas").getContext("webgl2");
    probe?.getExtension("WEBGL_lose_context")?.loseContext();
    return probe !== null;
  }

  function load(address) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error(address));
      document.head.append(script);
    });
  }

  function press(group, value) {
    for (const button of tools.querySelectorAll(`button[data-${group}]`)) {
      button.setAttribute("aria-pressed", String(button.dataset[group] === value));
    }
  }

  function show(what) {
    pictures.hidden = what !== "pictures";
    box.hidden = what !== "slices";
    press("show", what);
  }

  // Label k of a volume has colour k - 1; 0 is see-through.
  function colourMap(colours) {
    const rgb = [[0, 0, 0], ...colours];
    return {
      R: rgb.map((each) => each[0]),
      G: rgb.map((each) => each[1]),
      B: rgb.map((each) => each[2]),
      A: rgb.map((_, label) => (label ? 255 : 0)),
      I: rgb.map((_, label) => label),
      labels: rgb.map(() => ""),
    };
  }

  // The node speaks LPS, the library RAS.
  function moveTo([x, y, z]) {
    viewer.scene.crosshairPos = viewer.mm2frac([-x, -y, z]);
    viewer.drawScene();
    viewer.createOnLocationChange();
  }

  function placeOf(slice) {
    const [first, last] = study.axis_mm_lps;
    const share = slice / Math.max(1, study.curve.length - 1);
    return first.map((value, axis) => value + share * (last[axis] - value));
  }

  function sliceOf(voxel) {
    const grid = study.grid;
    return grid.start_zyx[0] + Math.round(voxel * grid.step_zyx[0] + (grid.step_zyx[0] - 1) / 2);
  }

  function follow(location) {
    const slice = sliceOf(Math.round(location.vox[2]));
    canvas.dataset.slice = slice;
    const total = study.curve.length;
    tell(words.slice.replace("{number}", total - slice).replace("{total}", total));
    const cursor = document.getElementById("curve-cursor");
    if (cursor) {
      const share = (total - 1 - slice + 0.5) / total;
      cursor.setAttribute("x1", share * 1000);
      cursor.setAttribute("x2", share * 1000);
    }
  }

  function goTo(level) {
    const place = study.levels.find((each) => each.level === level);
    if (!place) return;
    show("slices");
    moveTo(place.point_mm_lps);
    press("level", level);
    canvas.dataset.level = level;
  }

  function setPlane(plane) {
    const types = {
      all: viewer.sliceTypeMultiplanar,
      axial: viewer.sliceTypeAxial,
      sagittal: viewer.sliceTypeSagittal,
      coronal: viewer.sliceTypeCoronal,
    };
    viewer.setSliceType(types[plane]);
    press("plane", plane);
  }

  function setWindow(name) {
    const volume = viewer.volumes[0];
    [volume.cal_min, volume.cal_max] = WINDOWS[name];
    viewer.updateGLVolume();
    press("window", name);
  }

  function setOverlay({ dataset, checked }) {
    const index = dataset.overlay === "vertebrae" ? VERTEBRAE : VERTEBRAE + 1;
    if (index < viewer.volumes.length) viewer.setOpacity(index, checked ? OPACITY : 0);
  }

  function wire() {
    tools.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const { level, plane, window: name, show: what } = button.dataset;
      if (level) goTo(level);
      if (plane) setPlane(plane);
      if (name) setWindow(name);
      if (what) {
            show(what);
      }
    });
    tools.addEventListener("change", (event) => {
      if (event.target.dataset.overlay) setOverlay(event.target);
    });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0] };
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      viewer.moveCrosshairInVox(...step);
    });
    const curve = document.getElementById("curve");
    curve?.addEventListener("click", (event) => {
      const place = curve.getBoundingClientRect();
      const total = study.curve.length;
      const fromTop = Math.floor(((event.clientX - place.left) / place.width) * total);
      show("slices");
      moveTo(placeOf(Math.min(total - 1, Math.max(0, total - 1 - fromTop))));
    });
  }

  async function start() {
    const address = stage.dataset.study;
    const answer = await fetch(`${address}/study.json`);
    if (!answer.ok) throw new Error(`${answer.status}`);
    study = await answer.json();
    await load(stage.dataset.library);
    viewer = new window.niivue.Niivue({
      isResizeCanvas: true,
      backColor: [0, 0, 0, 1],
      show3Dcrosshair: false,
      isOrientCube: false,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      multiplanarShowRender: 0,
      multiplanarPadPixels: 4,
      crosshairWidth: 0.4,
      crosshairGap: 12, // what it points at stays free
      crosshairColor: [1, 1, 1, 0.6],
      loadingText: "",
      logLevel: "error",
      dragAndDropEnabled: false,
    });
    box.hidden = false; // the canvas has no size while this is hidden
    box.classList.add("loading");
    await viewer.attachToCanvas(canvas);
    const [low, high] = WINDOWS.bone;
    await viewer.loadVolumes([
      { url: `${address}/ct.nii.gz`, name: "ct.nii.gz", colormap: "gray", cal_min: low, cal_max: high },
    ]);
    await overlay(`${address}/vertebrae.nii.gz`, "vertebrae.nii.gz", Object.values(study.level_colours));
    if (study.has_suspicion) {
      await overlay(`${address}/suspicion.nii.gz`, "suspicion.nii.gz", Object.values(study.band_colours));
    }
    viewer.updateGLVolume();
    viewer.onLocationChange = follow;
    box.classList.remove("loading");
    canvas.viewer = viewer; // for tests, which ask it where a pixel lies
    wire();
    setPlane("all");
    press("window", "bone");
    const first = study.levels.find((each) => each.level === stage.dataset.first) ?? study.levels[0];
    moveTo(first ? first.point_mm_lps : placeOf(Math.floor(study.curve.length / 2)));
    for (const group of tools.children) group.disabled = false;
    tools.querySelector('input[data-overlay="suspicion"]').disabled = !study.has_suspicion;
    show("slices");
    canvas.dataset.state = "ready";
  }

  async function overlay(url, name, colours) {
    await viewer.addVolumesFromUrl([{ url, name, opacity: OPACITY }]);
    viewer.volumes.at(-1).setColormapLabel(colourMap(colours));
  }

  async function tryToStart() {
    if (navigator.connection?.saveData || !hasWebGl()) {
      stage.dataset.state = "pictures";
      tools.hidden = true;
      tell(words.pictures);
      return;
    }
    tell(words.loading);
    try {
      await start();
      stage.dataset.state = "slices";
    } catch (error) {
      box.hidden = true;
      tools.hidden = true;
      pictures.hidden = false;
      stage.dataset.state = "pictures";
      tell(words.failed);
      console.warn(error);
    }
  }

  tools.hidden = false; // at once, so that nothing moves when it comes to life
  // After the first pictures are on the screen.
  window.addEventListener("load", () => requestAnimationFrame(() => setTimeout(tryToStart, 0)));
})();
