package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
)

const program = "./usr/sbin/xl2tpd-keepalive"

// deb is a Debian package with one Go program.
type deb struct {
	file    string // its name, without the folder
	sha256  string
	version string
	info    *debug.BuildInfo
}

func readDeb(path string) (deb, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return deb{}, err
	}
	version, err := exec.Command("dpkg-deb", "--field", path, "Version").Output()
	if err != nil {
		return deb{}, fmt.Errorf("dpkg-deb: %w", err)
	}
	files, err := exec.Command("dpkg-deb", "--fsys-tarfile", path).Output()
	if err != nil {
		return deb{}, fmt.Errorf("dpkg-deb: %w", err)
	}
	binary, err := extract(files, program)
	if err != nil {
		return deb{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return deb{}, fmt.Errorf("%s: %w", program, err)
	}
	sum := sha256.Sum256(content)
	return deb{filepath.Base(path), hex.EncodeToString(sum[:]), strings.TrimSpace(string(version)), info}, nil
}

// extract returns one file of a tar archive.
func extract(archive []byte, name string) ([]byte, error) {
	files := tar.NewReader(bytes.NewReader(archive))
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("there is no %s in it", name)
		}
		if err != nil {
			return nil, err
		}
		if header.Name == name {
			return io.ReadAll(files)
		}
	}
}
