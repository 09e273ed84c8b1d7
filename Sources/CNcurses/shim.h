// Makes the wide-character curses calls visible to Swift, and gives names to the globals and
// macros that Swift 6 refuses to import. Only the `TerminalHost` target imports this module.
#ifndef QATLAS_CNCURSES_H
#define QATLAS_CNCURSES_H

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>

#endif
