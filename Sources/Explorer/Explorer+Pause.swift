// Esc and what it ends: a defragmentation, a run of the lab, or the scans behind the maps. Work that is done
// in one go is ended by the watch of its operation instead.

import Cartography
import Qcow
import Storage

extension Explorer {
  /// Esc outside of prompts and dialogs.
  func cancel() {
    if session.defrag != nil { return cancelDefrag() }
    if ui.screen == .lab, let lab, ui.lab.isRunning || lab.operation < ui.lab.target {
      ui.lab.isRunning = false
      ui.lab.target = lab.operation
      return tell("stopped after \(lab.operation) of \(lab.total) operations; Space goes on")
    }
    let isCounting = ui.screen == .fragmentation && fragmentationProgress != nil
    guard !ui.isPaused, isCounting || !session.atlas.isDone else { return }
    ui.isPaused = true
    tell("stopped; what was not looked at yet is unknown. :scan goes on")
  }

  func goOnScanning() throws(CommandError) {
    guard ui.isPaused else {
      throw CommandError(
        session.atlas.isDone ? "the scan is complete; :reload reads the file again" : "the scan is under way")
    }
    ui.isPaused = false
  }

  /// `:reload`: the file as it is now, with a new scan and no history.
  func reload(force: Bool) throws(CommandError) {
    guard let reopen else { throw CommandError("there is no file to read again") }
    if session.hasUnsavedChanges && session.mode != .readOnly && !force {
      throw CommandError(
        "there are unsaved changes; :reload! drops them, :w FILE saves a copy of what you see")
    }
    session.stopDefrag()
    let new: Session
    do throws(ImageError) { new = try reopen() } catch {
      throw CommandError("not read again: \(error.description)")
    }
    replaceSession(new)
    tell("read again: \(session.overlay.length) bytes")
  }

  /// Whether the maps lack something because Esc stopped the scan.
  var scanIsStopped: Bool { ui.isPaused && !session.atlas.isDone }
}
