// `:defrag` as it is seen: it begins, goes on between two pictures, and ends or is stopped.

import Cartography
import Qcow
import Storage

extension Explorer {
  func startDefrag(_ request: Request) throws(CommandError) {
    let forecast: RelocationForecast
    do throws(ImageError) { forecast = try session.startDefrag(request) } catch {
      refresh()
      throw CommandError(error.description)
    }
    tell("defrag: \(counted(forecast.toMove, "cluster")) to move, \(forecast.inPlace) in place; Esc stops")
  }

  /// One batch, and what it changed for the marks.
  func stepDefrag() {
    guard let defrag = session.defrag else { return }
    do throws(ImageError) {
      if let step = try session.stepDefrag() { ui.change = step.narration }
      ui.logSelected = max(0, session.done.count - 1)
      refresh()
      if session.defrag == nil {
        tell("defrag: in order, \(counted(defrag.forecast.toMove, "cluster")) moved   (u takes it back)")
      } else {
        tell("defrag: \(Int(defrag.progress.percent)) % in place; Esc stops")
      }
    } catch {
      refresh()
      if Session.isCancellation(error) { return tell(Self.defragStopped) }
      tell("defrag stopped: \(error.description)", error: true)
    }
  }

  /// Esc: what has been moved stays where it is now.
  func cancelDefrag() {
    guard session.defrag != nil else { return }
    session.stopDefrag()
    tell(Self.defragStopped)
  }

  private static let defragStopped = "defrag stopped; :defrag goes on, u takes it back"
}
