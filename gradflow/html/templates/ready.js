// The still pictures give way once the explorer is there; without scripts, and on paper, they stay.
document.documentElement.classList.add("interactive");
