// Makes the wide-character curses calls visible to Swift, and gives names to the globals and
// macros that Swift 6 refuses to import. Only the `TerminalHost` target imports this module.
#ifndef QATLAS_CNCURSES_H
#define QATLAS_CNCURSES_H

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const uint32_t tui_bold = WA_BOLD;
static const uint32_t tui_underline = WA_UNDERLINE;
static const uint32_t tui_reverse = WA_REVERSE;

static inline int tui_lines(void) { return LINES; }
static inline int tui_columns(void) { return COLS; }
static inline int tui_colors(void) { return COLORS; }
static inline int tui_color_pairs(void) { return COLOR_PAIRS; }
static inline WINDOW *tui_screen(void) { return stdscr; }

// The next doupdate clears the terminal and draws everything.
static inline void tui_repaint_all(void) { clearok(curscr, TRUE); }

// Starts curses on streams of its own for `fd`; NULL if the terminal type is of no use.
static inline SCREEN *tui_open(const char *type, int fd, FILE **output, FILE **input) {
  *output = fdopen(fd, "w");
  *input = fdopen(fd, "r");
  if (*output == NULL || *input == NULL) return NULL;
  use_env(FALSE);
  use_tioctl(TRUE);
  return newterm(type, *output, *input);
}

// A string capability; NULL if the terminal has none or the name is unknown.
static inline const char *tui_capability(const char *name) {
  const char *found = tigetstr(name);
  return found == (const char *)-1 ? NULL : found;
}

// Replaces a string capability of the opened terminal by a shorter one, in the place where curses
// keeps it: there is no call for that, and the table behind `set_attributes` is only a copy.
static inline void tui_shorten_capability(const char *name, const char *text) {
  char *found = (char *)tui_capability(name);
  if (found != NULL && strlen(text) <= strlen(found)) memcpy(found, text, strlen(text) + 1);
}

// Fills one cell. Combining characters of 0 are none.
static inline void tui_cell(cchar_t *cell, uint32_t base, uint32_t first, uint32_t second,
                            uint32_t attributes, int pair) {
  wchar_t text[4] = {(wchar_t)base, (wchar_t)first, (wchar_t)(first ? second : 0), 0};
  memset(cell, 0, sizeof *cell);
  // The pair goes in as the extended argument: the plain one stops at 32767.
  setcchar(cell, text, attributes, 0, &pair);
}

#endif
