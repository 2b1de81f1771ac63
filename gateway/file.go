package gateway

import "path/filepath"

// fileDocument is where the path of the configuration file of the last start is kept.
const fileDocument = "config_file"

// warnOfNoFile says that this start has no configuration file, and that the last one had one: who leaves
// --config out by mistake else wonders where everything is. The last start is the last one that served.
func (g *Gateway) warnOfNoFile() error {
	last, err := g.store.Document(fileDocument).Load()
	if err == nil && g.cfg.File() == "" && len(last) > 0 {
		g.log.WithField("last", string(last)).Warn("this start has no configuration file, and the last one had one: if that is a mistake, end it, and start it with --config FILE")
	}
	return err
}

// noteFile keeps which configuration file this start has.
func (g *Gateway) noteFile() {
	file := g.cfg.File()
	if file != "" {
		if abs, err := filepath.Abs(file); err == nil {
			file = abs
		}
	}
	kept := g.store.Document(fileDocument)
	if last, err := kept.Load(); err == nil && string(last) != file {
		if err := kept.Save([]byte(file)); err != nil {
			g.log.WithError(err).Debug("the configuration file's path was not kept")
		}
	}
}
